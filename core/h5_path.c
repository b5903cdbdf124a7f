#include "h5_path.h"

#include <string.h>

void ptq_h5_release(hid_t id)
{
    if (id >= 0) H5Idec_ref(id);
}

void ptq_h5_quieten(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

static herr_t first_cause(unsigned n, const H5E_error2_t *error, void *context)
{
    (void)n;
    *(const char **)context = error->desc;
    return 1;
}

const char *ptq_h5_cause(void)
{
    const char *cause = NULL;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_cause, &cause);
    return cause ? cause : "no cause given";
}

void ptq_h5_object_options(hid_t plist)
{
    H5Pset_link_creation_order(plist, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_obj_track_times(plist, 0);
}

/* Cuts the next word off *rest ("/cells/ID" -> "cells"); 0 at the end, -1 where it is too long. */
static int next_component(const char **rest, char *name)
{
    *rest += strspn(*rest, "/");
    size_t length = strcspn(*rest, "/");
    if (length >= PTQ_H5_LONGEST_NAME) return -1;
    memcpy(name, *rest, length);
    name[length] = 0;
    *rest += length;
    return length > 0;
}

int ptq_h5_has_link(hid_t group, const char *name)
{
    H5L_info_t info;
    return H5Lexists(group, name, H5P_DEFAULT) > 0 && H5Lget_info(group, name, &info, H5P_DEFAULT) >= 0 &&
           info.type == H5L_TYPE_HARD;
}

hid_t ptq_h5_find(hid_t root, const char *path)
{
    char name[PTQ_H5_LONGEST_NAME];
    hid_t at = H5Gopen2(root, "/", H5P_DEFAULT);
    int more;
    while (at >= 0 && (more = next_component(&path, name))) {
        int inside = more > 0 && H5Iget_type(at) == H5I_GROUP && ptq_h5_has_link(at, name);
        hid_t next = inside ? H5Oopen(at, name, H5P_DEFAULT) : H5I_INVALID_HID;
        ptq_h5_release(at);
        at = next;
    }
    return at;
}

static hid_t make_group(hid_t parent, const char *name)
{
    hid_t create = H5Pcreate(H5P_GROUP_CREATE);
    ptq_h5_object_options(create);
    hid_t group = H5Gcreate2(parent, name, H5P_DEFAULT, create, H5P_DEFAULT);
    ptq_h5_release(create);
    return group;
}

hid_t ptq_h5_need_group(hid_t root, const char *path)
{
    char name[PTQ_H5_LONGEST_NAME];
    hid_t at = H5Gopen2(root, "/", H5P_DEFAULT);
    int more;
    while (at >= 0 && (more = next_component(&path, name))) {
        hid_t next = more < 0                    ? H5I_INVALID_HID
                     : ptq_h5_has_link(at, name) ? H5Gopen2(at, name, H5P_DEFAULT)
                                                 : make_group(at, name);
        ptq_h5_release(at);
        at = next;
    }
    return at;
}
