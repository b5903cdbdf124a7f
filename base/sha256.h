/* SHA-256 by libcrypto: the identity of models, texts, token streams and cells. */
#ifndef PTQ_SHA256_H
#define PTQ_SHA256_H

#include <stddef.h>

enum { PTQ_SHA256_HEX = 65 }; /* 64 digits and a NUL */

struct ptq_sha256;

struct ptq_sha256 *ptq_sha256_begin(void);
void ptq_sha256_add(struct ptq_sha256 *hash, const void *data, size_t bytes);
void ptq_sha256_end(struct ptq_sha256 *hash, char hex[PTQ_SHA256_HEX]); /* frees hash */

void ptq_sha256(const void *data, size_t bytes, char hex[PTQ_SHA256_HEX]);
/* Whether text[0..length) is one as it is written here: 64 digits, lower case. */
int ptq_is_sha256(const char *text, size_t length);

#endif
