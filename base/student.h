/* Student's t distribution: for means of a few replicates. */
#ifndef PTQ_STUDENT_H
#define PTQ_STUDENT_H

/* P(|T| >= |t|) for df > 0 degrees of freedom, which need not be whole. */
double ptq_student_p(double t, double df);
/* The t that P(|T| <= t) = level belongs to, 0 < level < 1. */
double ptq_student_t(double level, double df);

#endif
