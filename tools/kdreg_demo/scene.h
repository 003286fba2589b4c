/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is transferred: kinds of buffers, as programs have them, and what becomes of them. */
#ifndef DEMO_SCENE_H
#define DEMO_SCENE_H

enum buffer_kind { BUFFER_POOL, BUFFER_LARGE, BUFFER_SMALL, BUFFER_KINDS };

struct scene {
    const char *name;
    const char *what; /* in words, for the report */
    enum buffer_kind kind;
    /* Out of a hundred. */
    unsigned writes; /* transfers from memory to the file; the rest are the other way */
    unsigned parts;  /* transfers of a part of a buffer */
    unsigned grown, emptied; /* of buffers that are used up: mremap, MADV_DONTNEED; the rest are unmapped or freed */
    unsigned uses;   /* transfers in the life of a buffer, at most; 0: it lives to the end */
};

#define SCENES 3
extern const struct scene scenes[SCENES];

#endif
