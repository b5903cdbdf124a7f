/* Every family that is plugged in: the word here, the struct in core/family_WORD.c or beside its kin. */
#ifndef PTQ_FAMILIES_H
#define PTQ_FAMILIES_H

#define PTQ_FAMILIES(X) X(llama) X(mistral) X(qwen2) X(opt) X(gpt2) X(bloom)

#endif
