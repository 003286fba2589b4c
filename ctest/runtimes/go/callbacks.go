// SPDX-License-Identifier: MIT OR Apache-2.0
package main

// What cgo exports may not stand beside C definitions.

// #include <stddef.h>
import "C"

import (
	"sync/atomic"
	"unsafe"
)

// The clock that registrations are numbered by; and how many there are.
var clock, pinned atomic.Int64

//export goRegister
func goRegister(context, addr unsafe.Pointer, length C.size_t, access C.uint, handle *uintptr) C.int {
	pinned.Add(1)
	*handle = uintptr(clock.Add(1))
	return 0
}

//export goDeregister
func goDeregister(context, addr unsafe.Pointer, length C.size_t, handle uintptr) C.int {
	pinned.Add(-1)
	return 0
}
