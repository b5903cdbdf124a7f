/* Every method that is plugged in: the word here, the struct in the file of that name. */
#ifndef PTQ_REGISTRY_H
#define PTQ_REGISTRY_H

#define PTQ_METHODS(X) X(fp16) X(rtn) X(salient) X(scale) X(gptq) X(obq) X(awq) X(awq_gptq) X(exact)

#endif
