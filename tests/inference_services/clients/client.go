// Go's default client against the address of a model; ends with 0 where each request got what it should.
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
)

var opened int

func main() {
	infer := os.Args[1] + "/v2/models/orders/infer"
	small, large := read(os.Args[2]), read(os.Args[3])
	for range 20 {
		ask("POST", infer, bytes.NewReader(small), nil, 200, `"score"`)
	}
	require(opened == 1, fmt.Sprintf("%d connections for 20 requests", opened))
	ask("POST", infer, io.MultiReader(bytes.NewReader(small[:10]), bytes.NewReader(small[10:])), nil, 200, `"score"`) // in chunks
	ask("POST", infer, bytes.NewReader(small), http.Header{"Expect": {"100-continue"}}, 200, `"score"`)
	ask("POST", infer, packed(small), http.Header{"Content-Encoding": {"gzip"}}, 200, `"score"`)
	answer := ask("POST", infer, bytes.NewReader(large), nil, 200, `"score"`)
	require(answer.Uncompressed, "Go asks for gzip by itself, and got none") // it opens the answer by itself, too
	ask("POST", infer+"/", bytes.NewReader(small), nil, 404, "no such path")
	ask("POST", infer, strings.NewReader("{}"), nil, 400, "error")
	answer = ask("GET", infer, nil, nil, 405, "expected POST")
	require(answer.Header.Get("Allow") == "POST", "no Allow")
	ask("HEAD", os.Args[1]+"/v2/models/orders", nil, nil, 200, "")
	fmt.Println("fine")
}

func ask(method, url string, body io.Reader, header http.Header, status int, words string) *http.Response {
	request, err := http.NewRequest(method, url, body)
	must(err)
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if !got.Reused {
			opened++
		}
	}}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), trace))
	request.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		request.Header[name] = values
	}
	answer, err := http.DefaultClient.Do(request)
	must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(err)
	require(answer.StatusCode == status && strings.Contains(string(text), words), fmt.Sprint(method, " ", url, ": ", answer.Status, " ", string(text[:min(200, len(text))])))
	return answer
}

func packed(plain []byte) io.Reader {
	var out bytes.Buffer
	packer := gzip.NewWriter(&out)
	_, err := packer.Write(plain)
	must(err)
	must(packer.Close())
	return &out
}

func read(name string) []byte {
	found, err := os.ReadFile(name)
	must(err)
	return found
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func require(kept bool, words string) {
	if !kept {
		panic(words)
	}
}
