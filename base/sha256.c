#include "sha256.h"

#include "arena.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* libcrypto's context is the object; the struct exists only as a name for it. */
static EVP_MD_CTX *context(struct ptq_sha256 *hash)
{
    return (EVP_MD_CTX *)hash;
}

struct ptq_sha256 *ptq_sha256_begin(void)
{
    EVP_MD_CTX *made = EVP_MD_CTX_new();
    if (!made || EVP_DigestInit_ex(made, EVP_sha256(), NULL) != 1) ptq_out_of_memory(256, "sha256", "a hash");
    return (struct ptq_sha256 *)made;
}

void ptq_sha256_add(struct ptq_sha256 *hash, const void *data, size_t bytes)
{
    int ok = EVP_DigestUpdate(context(hash), data, bytes);
    assert(ok == 1);
    (void)ok;
}

void ptq_sha256_end(struct ptq_sha256 *hash, char hex[PTQ_SHA256_HEX])
{
    unsigned char digest[32];
    int ok = EVP_DigestFinal_ex(context(hash), digest, NULL);
    assert(ok == 1);
    (void)ok;
    EVP_MD_CTX_free(context(hash));
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void ptq_sha256(const void *data, size_t bytes, char hex[PTQ_SHA256_HEX])
{
    struct ptq_sha256 *hash = ptq_sha256_begin();
    ptq_sha256_add(hash, data, bytes);
    ptq_sha256_end(hash, hex);
}

int ptq_is_sha256(const char *text, size_t length)
{
    return length == PTQ_SHA256_HEX - 1 && strspn(text, "0123456789abcdef") >= length;
}
