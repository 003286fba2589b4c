// SPDX-License-Identifier: MIT OR Apache-2.0
package main

// What cgo exports may not stand beside C definitions.

import "C"

import (
	"sync/atomic"
	"unsafe"
)

// The clock that registrations are numbered by; and how many there are.
var clock, pinned atomic.Int64

//export goRegister
func goRegister(_ unsafe.Pointer, _ unsafe.Pointer, _ C.size_t, _ C.uint, handle *uintptr) C.int {
	pinned.Add(1)
	*handle = uintptr(clock.Add(1))
	return 0
}

//export goDeregister
func goDeregister(_ unsafe.Pointer, _ unsafe.Pointer, _ C.size_t, _ uintptr) C.int {
	pinned.Add(-1)
	return 0
}
