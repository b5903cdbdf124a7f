#include "locate.h"

#include "version.h"
#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANIFEST_LIMIT = 1 << 20, REF_LIMIT = 256 };

/* ---- folders ---- */

/* An environment variable that is set and not empty, or NULL. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* $HOME; a service or a cron job may have none, then what the password database says. */
static const char *home_folder(void)
{
    const char *home = environment("HOME");
    const struct passwd *user = home ? NULL : getpwuid(getuid());
    if (user && user->pw_dir && *user->pw_dir) home = user->pw_dir; /* no test: a user whom no database knows */
    return home ? home : ".";                                       /* no test: as above */
}

/* $XDG_CACHE_HOME, else .cache in the home folder. */
static const char *user_cache(struct ptq_arena *arena)
{
    const char *xdg = environment("XDG_CACHE_HOME");
    return xdg ? xdg : ptq_join(arena, home_folder(), ".cache");
}

const char *ptq_cache_folder(struct ptq_arena *arena)
{
    const char *own = environment("PTQ_CACHE");
    return own ? own : ptq_join(arena, user_cache(arena), "ptq");
}

static const char *named_hub_folder(struct ptq_arena *arena)
{
    const char *hub = environment("HF_HUB_CACHE"), *home = environment("HF_HOME");
    if (!hub) hub = environment("HUGGINGFACE_HUB_CACHE"); /* its older name, which that library still reads */
    if (hub) return hub;
    if (home) return ptq_join(arena, home, "hub");
    return ptq_join(arena, user_cache(arena), "huggingface/hub");
}

/* ~ at its beginning is the user's folder, as that library takes it: no shell expands a container's settings. */
static const char *hub_folder(struct ptq_arena *arena)
{
    const char *folder = named_hub_folder(arena);
    if (folder[0] != '~' || (folder[1] && folder[1] != '/')) return folder;
    return ptq_format(arena, "%s%s", home_folder(), folder + 1);
}

static enum ptq_status exists(const char *path, int *there, struct ptq_error *err)
{
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    *there = kind != PTQ_NOTHING;
    return PTQ_OK;
}

/* ---- names ---- */

static int is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static int is_bare(const char *name, size_t length)
{
    if (length == 0 || length > 255 || name[0] == '.') return 0;
    for (size_t i = 0; i < length; i++)
        if (!is_name_char(name[i])) return 0;
    return 1;
}

int ptq_is_bare_name(const char *name)
{
    return is_bare(name, strlen(name));
}

/* Whether name was meant as a file's path, so that no hub is looked into for it. */
static int looks_like_file(const char *name)
{
    static const char *const endings[] = {".gguf", ".safetensors", ".json", ".bin", ".txt"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t tail = strlen(endings[i]);
        if (length >= tail && strcmp(name + length - tail, endings[i]) == 0) return 1;
    }
    return 0;
}

/* A name of the hub in its parts; org is NULL where it has none, as the hub's oldest models ("gpt2"). */
struct hub_name {
    const char *org, *model, *revision;
};

/* "org/name", "name", or either with "@revision"; 0 when name is something else. */
static int split_hub_name(struct ptq_arena *arena, const char *name, struct hub_name *out)
{
    const char *slash = strchr(name, '/'), *at = strchr(name, '@');
    size_t length = at ? (size_t)(at - name) : strlen(name);
    if (slash && slash > name + length) slash = NULL; /* of the revision */
    *out = (struct hub_name){.revision = ptq_strdup(arena, at ? at + 1 : "main")};
    const char *model = slash ? slash + 1 : name;
    if (slash) out->org = ptq_strndup(arena, name, (size_t)(slash - name));
    out->model = ptq_strndup(arena, model, length - (size_t)(model - name));
    return (!out->org || ptq_is_bare_name(out->org)) && ptq_is_bare_name(out->model);
}

/* ---- the Hugging Face cache ---- */

/* A revision is a commit, a tag or a branch; the latter two may hold '/' and are files beneath refs/. */
static int is_revision(const char *text)
{
    if (!*text || *text == '/' || strstr(text, "..") || strlen(text) > REF_LIMIT) return 0;
    for (; *text; text++)
        if (!is_name_char(*text) && *text != '/') return 0;
    return 1;
}

/* The commit that refs/REVISION holds, or revision itself where there is no such file. */
static enum ptq_status resolve_revision(struct ptq_arena *arena, const char *model, const char *revision,
                                        const char **commit, struct ptq_error *err)
{
    char *text;
    size_t size;
    enum ptq_kind kind;
    const char *path = ptq_format(arena, "%s/refs/%s", model, revision);
    *commit = revision;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_read_file(arena, path, REF_LIMIT, &text, &size, err));
    text[strcspn(text, " \t\r\n")] = 0;
    *commit = text;
    return PTQ_OK;
}

static int is_beneath(const char *path, const char *root)
{
    size_t length = strlen(root);
    if (length == 1) return 1; /* "/" */
    return strncmp(path, root, length) == 0 && path[length] == '/';
}

/* Whether a snapshot is a folder of the model's own folder, and no link out of it. */
static int is_own_snapshot(const char *path, const char *folder)
{
    char *real = realpath(path, NULL), *root = realpath(folder, NULL);
    int own = real && root && is_beneath(real, root); /* no test: both were looked at just now */
    free(real);
    free(root);
    return own;
}

static int is_hub_name(struct ptq_arena *arena, const char *name, struct hub_name *out)
{
    return !looks_like_file(name) && split_hub_name(arena, name, out);
}

const char *ptq_hub_id(struct ptq_arena *arena, const char *name)
{
    struct hub_name hub;
    if (ptq_is_folder(name) || ptq_is_file(name) || !is_hub_name(arena, name, &hub) || !hub.org) return NULL;
    return ptq_format(arena, "%s/%s", hub.org, hub.model);
}

/* The snapshot of a model that has its folder in the cache, or, with an organisation, ought to. */
static enum ptq_status find_snapshot(struct ptq_arena *arena, const char *name, const struct hub_name *hub,
                                     const char *folder, enum ptq_kind kind, const char **path, struct ptq_error *err)
{
    const char *commit;
    enum ptq_kind snapshot = PTQ_NOTHING;
    if (!is_revision(hub->revision)) return ptq_fail(err, PTQ_EINPUT, "%s: what follows @ is no revision", name);
    PTQ_TRY(resolve_revision(arena, folder, hub->revision, &commit, err));
    *path = ptq_format(arena, "%s/snapshots/%s", folder, commit);
    if (ptq_is_bare_name(commit)) PTQ_TRY(ptq_look(*path, &snapshot, err));
    if (snapshot == PTQ_FOLDER) {
        if (is_own_snapshot(*path, folder)) return PTQ_OK;
        return ptq_fail(err, PTQ_EINPUT, "%s: the snapshot %s is a link that leaves %s; fetch the model anew", name,
                        *path, folder);
    }
    if (kind == PTQ_FOLDER)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: revision %s is not in the Hugging Face cache (%s); fetch it: data/fetch hub %s", name,
                        hub->revision, folder, name);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: no such file or folder, and not in the Hugging Face cache (%s); fetch it: data/fetch hub %s",
                    name, hub_folder(arena), name);
}

static enum ptq_status locate_hub(struct ptq_arena *arena, const char *name, const char **path, int *is_name,
                                  struct ptq_error *err)
{
    struct hub_name hub;
    enum ptq_kind kind;
    *is_name = is_hub_name(arena, name, &hub);
    if (!*is_name) return PTQ_OK;
    const char *folder = ptq_format(arena, "%s/models--%s%s%s", hub_folder(arena), hub.org ? hub.org : "",
                                    hub.org ? "--" : "", hub.model);
    PTQ_TRY(ptq_look(folder, &kind, err));
    *is_name = hub.org || kind == PTQ_FOLDER; /* a word alone may be anything */
    return *is_name ? find_snapshot(arena, name, &hub, folder, kind, path, err) : PTQ_OK;
}

/* ---- the cache and its MANIFEST ---- */

/* Cuts the next cell off *line: what stands before '|', without the blanks around it. */
static char *next_cell(char **line)
{
    char *cell = *line + strspn(*line, " \t"), *end = cell + strcspn(cell, "|");
    *line = *end ? end + 1 : end;
    while (end > cell && (end[-1] == ' ' || end[-1] == '\t')) end--;
    *end = 0;
    return cell;
}

/* The MANIFEST's names of a kind ("model", "text"); none where there is no MANIFEST, or it cannot be had: what is asked
 * for is not there, and only the advice is shorter. */
static const char **manifest_names(struct ptq_arena *arena, const char *kind, size_t *n)
{
    char *text;
    size_t size, lines = 1;
    struct ptq_error ignored;
    const char *own = environment("PTQ_MANIFEST");
    const char *path = own ? own : ptq_join(arena, ptq_source_folder, "data/MANIFEST");
    *n = 0;
    if (!ptq_is_file(path) || ptq_read_file(arena, path, MANIFEST_LIMIT, &text, &size, &ignored)) return NULL;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    const char **name = ptq_new(arena, const char *, lines);
    for (char *line; (line = strsep(&text, "\n"));) {
        char *first = next_cell(&line);
        if (*first != '#' && strcmp(next_cell(&line), kind) == 0) name[(*n)++] = first;
    }
    return name;
}

/* The sentence for a name that is neither a path nor in the cache's folder: how to fetch it, or what is like it;
 * PTQ_OK where the MANIFEST has neither. */
static enum ptq_status ask_manifest(struct ptq_arena *arena, const char *name, const char *kind, struct ptq_error *err)
{
    size_t n;
    const char *const *known = (const char *const *)manifest_names(arena, kind, &n);
    const char *near = n ? ptq_nearest(name, known, n) : NULL;
    if (!near) return PTQ_OK;
    if (strcmp(near, name) == 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: is not in the cache (%s/%ss) yet; fetch it: data/fetch %s", name,
                        ptq_cache_folder(arena), kind, name);
    return ptq_fail(err, PTQ_EINPUT, "%s: no such file or folder, and no such %s in data/MANIFEST; did you mean '%s'?",
                    name, kind, near);
}

/* name itself, or CACHE/folder/NAME, or CACHE/folder/NAME.suffix: the first of them that is there. */
static enum ptq_status find(struct ptq_arena *arena, const char *name, const char *folder, const char *suffix,
                            const char **path, int *there, struct ptq_error *err)
{
    *path = ptq_strdup(arena, name);
    PTQ_TRY(exists(name, there, err));
    if (*there || !ptq_is_bare_name(name)) return PTQ_OK;
    *path = ptq_join(arena, ptq_join(arena, ptq_cache_folder(arena), folder), name);
    PTQ_TRY(exists(*path, there, err));
    if (*there) return PTQ_OK;
    *path = ptq_format(arena, "%s%s", *path, suffix);
    return exists(*path, there, err);
}

enum ptq_status ptq_locate_model(struct ptq_arena *arena, const char *name, const char **path, struct ptq_error *err)
{
    int there;
    PTQ_TRY(find(arena, name, "models", ".gguf", path, &there, err));
    if (there) return PTQ_OK;
    PTQ_TRY(locate_hub(arena, name, path, &there, err));
    if (there) return PTQ_OK;
    if (ptq_is_bare_name(name)) PTQ_TRY(ask_manifest(arena, name, "model", err));
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: no such file or folder, and no name of a model; give a path, a name of data/MANIFEST or "
                    "ORG/NAME",
                    name);
}

enum ptq_status ptq_locate_text(struct ptq_arena *arena, const char *name, const char **path, struct ptq_error *err)
{
    int there;
    PTQ_TRY(find(arena, name, "texts", ".txt", path, &there, err));
    if (there) return PTQ_OK;
    if (ptq_is_bare_name(name)) PTQ_TRY(ask_manifest(arena, name, "text", err));
    return ptq_fail(err, PTQ_EINPUT, "%s: no such text; give the path of a file or a text's name of data/MANIFEST",
                    name);
}

/* ---- files beneath a folder ---- */

/* Cuts real, the real path of a model folder, back to what links may reach: itself, or for .../models--X/snapshots/Y
 * the folder models--X, whose blobs/ the snapshots point to. */
static void widen(char *real)
{
    char *last = strrchr(real, '/'), *middle, *first;
    if (last == real) return;
    *last = 0;
    middle = strrchr(real, '/'); /* there is one: a real path begins with it */
    *middle = 0;
    first = strrchr(real, '/');
    if (first && strcmp(middle + 1, "snapshots") == 0 && strncmp(first + 1, "models--", 8) == 0) return;
    *middle = *last = '/';
}

static enum ptq_status map_beneath(struct ptq_arena *arena, const char *folder, const char *path,
                                   struct ptq_mapped *out, struct ptq_error *err)
{
    *out = (struct ptq_mapped){.path = path};
    char *root = realpath(folder, NULL), *real = realpath(path, NULL);
    enum ptq_status status;
    if (root) widen(root);
    if (!root || !real)
        status = ptq_fail(err, PTQ_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    else if (!is_beneath(real, root))
        status = ptq_fail(err, PTQ_EINPUT, "%s: is a link to %s, outside the model's folder; put the file itself there",
                          path, real);
    else
        status = ptq_map(arena, real, out, err);
    free(root);
    free(real);
    if (!status) out->path = path;
    return status;
}

enum ptq_status ptq_map_member(struct ptq_arena *arena, const char *folder, const char *name, struct ptq_mapped *out,
                               struct ptq_error *err)
{
    return map_beneath(arena, folder, ptq_join(arena, folder, name), out, err);
}

enum ptq_status ptq_map_inside(struct ptq_arena *arena, const char *path, struct ptq_mapped *out, struct ptq_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *folder = !slash ? "." : slash == path ? "/" : ptq_strndup(arena, path, (size_t)(slash - path));
    return map_beneath(arena, folder, ptq_strdup(arena, path), out, err);
}
