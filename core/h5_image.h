/* The bytes of an HDF5 file outside HDF5: a repair of those taken out of memory, and a seal over all of them.
 *
 * HDF5 1.10 reads past its buffers on damaged files, and keeps no checksum of data. So behind the end of HDF5's own
 * part, where every HDF5 library ignores it, our files have a line with the SHA-256 of what is before it, and a damaged
 * file is refused before HDF5 sees it. It is no signature: who forges a file can forge it too. */
#ifndef PTQ_H5_IMAGE_H
#define PTQ_H5_IMAGE_H

#include <stddef.h>

enum { PTQ_H5_SEAL = 1 + 11 + 64 + 1 }; /* "\nptq-sha256 HEX\n" */

/* H5Fget_file_image (HDF5 1.10 at least) clears the status flags in the superblock and leaves the checksum behind them
 * as it was, so that its image does not open. This writes the checksum anew; a superblock without one is left alone. */
void ptq_h5_mend(unsigned char *image, size_t size);

/* Whether the superblock says that a program has the file open for writing, or never closed it. HDF5 1.10 asks that of
 * version 3 alone; nothing that ptq writes says it. */
int ptq_h5_left_open(const unsigned char *file, size_t size);

/* Writes the seal of image[0..size) to image[size..size + PTQ_H5_SEAL). */
void ptq_h5_seal(unsigned char *image, size_t size);
/* 1 where the file has a seal and it holds, 0 where it does not hold, -1 where there is none (a file of other making).
 */
int ptq_h5_check_seal(const unsigned char *file, size_t size);

#endif
