// Evaluates a .dmodel: prints its ids and the exact loss.
//
//	embed_go model.dmodel inputs.raw labels.raw
//
// The raw files hold the integers of the first input and the first label, example-major, in the
// byte order of the host: what numpy.ndarray.tofile writes. Build with CGO_CFLAGS and CGO_LDFLAGS
// that find gvm/gvm.h and libgvm.
package main

/*
#cgo LDFLAGS: -lgvm
#include <gvm/gvm.h>
#include <stdlib.h>
*/
import "C"

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"unsafe"
)

// Memory of C: the library keeps views of a file's bytes, and Go's rules let no pointer to Go's
// memory stand inside of what C is given.
type buffer struct {
	at   unsafe.Pointer
	size int
}

func read(path string) (buffer, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return buffer{}, fmt.Errorf("%s: cannot be read", path)
	}
	return buffer{C.CBytes(bytes), len(bytes)}, nil
}

func (b buffer) free() { C.free(b.at) }

func told(path string, failure *C.gvm_error) error {
	name := C.GoString(C.gvm_status_name(C.int(failure.status)))
	return fmt.Errorf("%s: %s (%s)", path, C.GoString(&failure.message[0]), name)
}

// Bytes of one example of the first tensor of a section; 0 when it has no batch axis in front.
func exampleBytes(program *C.gvm_program, section C.int) int {
	widths := [...]int{0, 2, 4, 8, 1, 1}
	var tensor C.gvm_tensor_info
	tensor.struct_size = C.sizeof_gvm_tensor_info
	if C.gvm_program_get_tensor(program, section, 0, &tensor) != C.GVM_OK {
		return 0
	}
	t := tensor._type
	if t.rank == 0 || t.dims[0] != -1 || int(t.dtype) >= len(widths) {
		return 0
	}
	bytes := widths[t.dtype]
	for _, d := range t.dims[1:t.rank] {
		bytes *= int(d)
	}
	return bytes
}

func id(bytes *[C.GVM_ID_BYTES]C.uint8_t) string {
	return hex.EncodeToString(C.GoBytes(unsafe.Pointer(bytes), C.GVM_ID_BYTES))
}

func evaluate(paths []string) error {
	var files [3]buffer
	for i, path := range paths {
		file, err := read(path)
		if err != nil {
			return err
		}
		defer file.free()
		files[i] = file
	}
	model, x, y := files[0], files[1], files[2]

	var failure C.gvm_error
	var parts C.gvm_file
	var program *C.gvm_program
	var session *C.gvm_session
	var info C.gvm_program_info
	var parametersID [C.GVM_ID_BYTES]C.uint8_t
	parts.struct_size = C.sizeof_gvm_file
	info.struct_size = C.sizeof_gvm_program_info
	if C.gvm_file_parse((*C.uint8_t)(model.at), C.size_t(model.size), &parts, &failure) != C.GVM_OK ||
		C.gvm_program_new(parts.program, C.size_t(parts.program_size), nil, &program, &failure) != C.GVM_OK {
		return told(paths[0], &failure)
	}
	defer C.gvm_program_free(program)
	size := C.size_t(parts.parameters_size)
	if C.gvm_program_get_info(program, &info) != C.GVM_OK ||
		C.gvm_program_parameters_id(program, parts.parameters, size, &parametersID[0], &failure) != C.GVM_OK ||
		C.gvm_session_new(program, nil, &session, &failure) != C.GVM_OK {
		return told(paths[0], &failure)
	}
	defer C.gvm_session_free(session)
	if C.gvm_session_write(session, C.GVM_PARAMETERS, parts.parameters, size, &failure) != C.GVM_OK {
		return told(paths[0], &failure)
	}

	xBytes, yBytes := exampleBytes(program, C.GVM_INPUTS), exampleBytes(program, C.GVM_LABELS)
	if info.loss_outputs == 0 || info.inputs != 1 || info.labels != 1 || xBytes == 0 || yBytes == 0 {
		return fmt.Errorf("%s: needs a loss, one input and one label, batch axis first", paths[0])
	}
	count := x.size / xBytes
	if count == 0 || x.size != count*xBytes || y.size != count*yBytes {
		return fmt.Errorf("%s, %s: received %d and %d bytes, an example has %d and %d",
			paths[1], paths[2], x.size, y.size, xBytes, yBytes)
	}

	// Batches are merged by addition: their size does not move a bit.
	var loss C.gvm_loss
	pointers := (*[2]unsafe.Pointer)(C.calloc(2, C.size_t(unsafe.Sizeof(x.at))))
	if pointers == nil {
		return errors.New("out of memory")
	}
	defer C.free(unsafe.Pointer(pointers))
	for done := 0; done < count; {
		n := count - done
		if n > 256 {
			n = 256
		}
		if uint64(n) > uint64(info.max_batch) {
			n = int(info.max_batch)
		}
		pointers[0] = unsafe.Add(x.at, done*xBytes)
		pointers[1] = unsafe.Add(y.at, done*yBytes)
		if C.gvm_session_loss(session, &pointers[0], &pointers[1], C.uint64_t(n), &loss, &failure) != C.GVM_OK {
			return told(paths[1], &failure)
		}
		done += n
	}
	fmt.Println("graph_id", id(&info.graph_id))
	fmt.Println("parameters_id", id(&parametersID))
	fmt.Printf("total %d\ncount %d\ncorrect %d\n", loss.total, loss.count, loss.correct)
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintf(os.Stderr, "usage: %s model.dmodel inputs.raw labels.raw\n", os.Args[0])
		os.Exit(2)
	}
	if err := evaluate(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
