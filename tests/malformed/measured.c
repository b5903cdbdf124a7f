/* measured LIMIT REPORT COMMAND...: runs the command, ends it after LIMIT seconds, and writes one line to the
 * descriptor REPORT: the exit status (below 0: the signal), seconds of processor time, seconds, the most memory in kB.
 *
 * The most memory of a process counts what it had before exec, so it must be started by a small one: a child of Python
 * begins with Python's own 40 MB. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void end_child(int number)
{
    (void)number;
    kill(child, SIGKILL);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

static void become(int report, char **command)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(report);
    execv(command[0], command);
    perror(command[0]);
    _exit(127);
}

int main(int n, char **words)
{
    if (n < 4) return 2;
    int report = (int)strtol(words[2], NULL, 10), status;
    struct rusage usage;
    double start = now();
    child = fork();
    if (child < 0) return 1;
    if (child == 0) become(report, words + 3);
    signal(SIGALRM, end_child);
    alarm((unsigned)strtoul(words[1], NULL, 10));
    if (wait4(child, &status, 0, &usage) < 0) return 1;
    dprintf(report, "%d %.6f %.6f %ld\n", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status),
            seconds(usage.ru_utime) + seconds(usage.ru_stime), now() - start, usage.ru_maxrss);
    return 0;
}
