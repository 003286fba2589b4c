/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A shared object with pages of its own, for the test that unloads it. */
__attribute__((visibility("default"))) _Alignas(65536) char matrix_object_pages[16 * 65536] = {1};
