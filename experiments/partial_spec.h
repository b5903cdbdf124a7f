/* A SPEC of which only a part is said. */
#ifndef PTQ_PARTIAL_SPEC_H
#define PTQ_PARTIAL_SPEC_H

/* Whether a canonical SPEC ("gptq:w3,g64,act_order=1") is of the method, and has each item, that `said` has: "gptq:w3",
 * "gptq:act_order=1", in any order. What is not said may be anything. */
int ptq_partial_spec_agrees(const char *spec, const char *said);

#endif
