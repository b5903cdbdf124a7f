/* What ptq makes beside a user's files under names that it derives itself: temporary files and folders, and the folders
 * of a results file. Somebody else may have put something there before: no write and no removal follows a link. */
#ifndef PTQ_BESIDE_H
#define PTQ_BESIDE_H

#include "arena.h"
#include "status.h"

#include <stddef.h>

/* Whether a process of this machine will do anything yet: one that was killed has its number for as long as nobody asks
 * how it ended. */
int ptq_process_lives(long process);

/* ---- temporary names: "DIR/.tmp.NAME.WHERE.PID" ---- */

/* WHERE is 8 hexadecimal digits of the machine's name and of the namespace that process numbers are numbers of, so that
 * on a file system that several share nobody takes another's live writer for dead. */
enum { PTQ_HOST_SIZE = 65 }; /* 64 is the longest on Linux */
void ptq_host_name(char host[PTQ_HOST_SIZE]);

/* By how many bytes the temporary name is longer than NAME, at most. */
enum { PTQ_TEMPORARY_ROOM = sizeof ".tmp." - 1 + sizeof ".01234567.4194304" - 1 };

char *ptq_temporary_path(struct ptq_arena *arena, const char *path);
void ptq_temporary_name(const char *path, char *out, size_t size);
/* Whether name is that of a temporary whose process was of here and is gone. What has this process's own number was a
 * dead one's as well: in a container, where numbers start over, each has the same. */
int ptq_is_left_over(const char *name);
/* Removes what killed runs left: every file or flat folder DIR/.tmp.NAME.WHERE.PID of path's that is left over. */
void ptq_sweep_temporaries(const char *path);

/* ---- folders ---- */

/* mkdir -p, where the last part of path is a name of ours: that it is a link already is PTQ_EINPUT. */
enum ptq_status ptq_make_own_folder(const char *path, struct ptq_error *err);
/* The refusal alone; what is not there is fine. */
enum ptq_status ptq_check_own_folder(const char *path, struct ptq_error *err);

/* Removes a name from an open folder, or leaves it, since it is not ours; returns errno, or 0. */
typedef int ptq_remove_function(int folder, const char *name, const void *context);
int ptq_remove_name(int folder, const char *name, const void *context); /* any but a folder */
/* Removes each name in a folder and then itself; returns errno, or 0 (also where it is not there): ENOTEMPTY where
 * something was left in it, ENOTDIR where it is a link, through which nothing is removed. parent may be AT_FDCWD. */
int ptq_remove_folder(int parent, const char *name, ptq_remove_function *remove, const void *context);

#endif
