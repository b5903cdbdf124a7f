#include "h5_path.h"

#include <string.h>

void ptq_h5_release(hid_t id)
{
    if (id >= 0) H5Idec_ref(id);
}

void ptq_h5_quieten(void)
{
    /* Before any other call. HDF5 1.10 keeps a file whose close failed half given back, and at exit goes on with it and
     * crashes; ptq has nothing open by then, and HDF5 nothing on disk. */
    H5dont_atexit();
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

/* 1 where each of the dataset's filters is one that HDF5 itself undoes, and none asks for a plug-in. */
static int has_known_filters(hid_t create)
{
    int n = H5Pget_nfilters(create), known = n >= 0;
    for (int i = 0; known && i < n; i++) {
        unsigned flags;
        size_t values = 0;
        H5Z_filter_t id = H5Pget_filter2(create, (unsigned)i, &flags, &values, NULL, 0, NULL, NULL);
        known = id == H5Z_FILTER_DEFLATE || id == H5Z_FILTER_SHUFFLE || id == H5Z_FILTER_FLETCHER32;
    }
    return known;
}

int ptq_h5_is_stored(hid_t dataset, size_t width, uint64_t bytes, uint64_t file_size)
{
    hsize_t chunk[2] = {1, 1};
    hid_t create = H5Dget_create_plist(dataset);
    H5D_layout_t layout = H5Pget_layout(create);
    uint64_t least = bytes;
    int plain = layout == H5D_CONTIGUOUS || layout == H5D_COMPACT || layout == H5D_CHUNKED;
    plain = plain && H5Pget_external_count(create) == 0 && has_known_filters(create);
    if (plain && layout == H5D_CHUNKED) {
        int rank = H5Pget_chunk(create, 2, chunk);
        uint64_t limit = PTQ_H5_MOST_DEFLATION * file_size / width;
        plain = rank >= 1 && rank <= 2 && chunk[0] <= limit && chunk[1] <= limit / chunk[0];
        least = bytes / PTQ_H5_MOST_DEFLATION;
    }
    ptq_h5_release(create);
    return plain && (bytes == 0 || H5Dget_storage_size(dataset) > 0) && H5Dget_storage_size(dataset) >= least;
}
