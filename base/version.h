/* What was compiled: written by base/version.cmake at each build, so that a result names the code that made it. */
#ifndef PTQ_VERSION_H
#define PTQ_VERSION_H

extern const char ptq_version[];  /* "0.1.0" */
extern const char ptq_commit[];   /* 40 hex digits, a + behind them where the tree was dirty; "unknown" outside git */
extern const char ptq_compiler[]; /* "GNU 12.2.0, Release" */
extern const char ptq_source_folder[]; /* the tree it was built from */

#endif
