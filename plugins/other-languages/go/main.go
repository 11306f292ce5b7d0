// Drops records whose value contains `debug`.
package main

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

func main() {}

// What the broker passes and reads stays reachable until the call is over.
var held [][]byte

func hold(size uint32) unsafe.Pointer {
	memory := make([]byte, max(size, 1)+8)
	held = append(held, memory)
	at := uintptr(unsafe.Pointer(&memory[0]))
	return unsafe.Add(unsafe.Pointer(&memory[0]), (8-at%8)%8)
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	at := hold(size)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return at
}

var configured [12]byte // 0: accepted

//go:wasmexport sedge:plugin/lifecycle@0.1.0#configure
func configure(settings unsafe.Pointer, count uint32) unsafe.Pointer {
	return unsafe.Pointer(&configured)
}

//go:wasmexport sedge:plugin/filter@0.1.0#describe
func describe() uint32 { return 2 } // value

// Four lists: address and length of each.
var outcome [8]uint32

//go:wasmexport sedge:plugin/filter@0.1.0#filter-batch
func filterBatch(info unsafe.Pointer) unsafe.Pointer {
	list := func(offset uintptr) []byte {
		words := unsafe.Slice((*uint32)(unsafe.Add(info, offset)), 2)
		return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(words[0]))), words[1])
	}
	blob, spans := list(72), list(80)
	verdicts := unsafe.Slice((*byte)(hold(uint32(len(spans)/32))), len(spans)/32)
	drops := false
	for number := range verdicts {
		span := spans[number*32:]
		offset, length := binary.LittleEndian.Uint32(span[8:]), binary.LittleEndian.Uint32(span[12:])
		if length != 0xffffffff && bytes.Contains(blob[offset:offset+length], []byte("debug")) {
			verdicts[number], drops = 1, true
		}
	}
	outcome = [8]uint32{}
	if drops {
		outcome[0], outcome[1] = uint32(uintptr(unsafe.Pointer(&verdicts[0]))), uint32(len(verdicts))
	}
	return unsafe.Pointer(&outcome)
}

//go:wasmexport cabi_post_sedge:plugin/filter@0.1.0#filter-batch
func filterBatchDone(outcome unsafe.Pointer) { held = nil }
