// stand-in plays a service as the fleet model describes it, where the real one cannot run: it takes as long, calls whom
// it calls, fails as it fails. One static program with these parts:
//
//	stand-in serve                a service: answers /op/NAME, /ready and /live, and shows its metrics on :9464/metrics
//	stand-in load                 its users: requests at random moments, at a stated rate
//	stand-in reach HOST:PORT…     tries to connect, and prints for each address whether it could
//	stand-in rest                 does nothing, in a sidecar's place
//
// What it plays is said by a JSON document in /twin/script.json, and anew by POST :9464/script while it runs.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	scriptFile  = "/twin/script.json"
	controlPort = ":9464"
	reachWithin = 2 * time.Second
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	part := "serve"
	if len(os.Args) > 1 {
		part = os.Args[1]
	}
	switch part {
	case "serve":
		serve()
	case "load":
		generate()
	case "reach":
		reach(os.Args[2:])
	case "rest":
		untilTold()
	default:
		log.Fatalf("there is no part %q: serve, load, reach or rest", part)
	}
}

// readScript reads the document that this pod was started with.
func readScript(into any) {
	raw, err := os.ReadFile(scriptFile)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		log.Fatalf("cannot read %s: %v", scriptFile, err)
	}
}

// control serves the metrics, and takes a new script; beside whatever mux answers already.
func control(mux *http.ServeMux, metrics *registry, take func([]byte) error) {
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { metrics.write(w) })
	mux.HandleFunc("/script", func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
		if err == nil {
			err = take(raw)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	go func() { log.Fatal(http.ListenAndServe(controlPort, mux)) }()
}

// untilTold returns when Kubernetes wants this pod to end.
func untilTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	<-told
}

func reach(addresses []string) {
	for _, address := range addresses {
		connection, err := net.DialTimeout("tcp", address, reachWithin)
		if err == nil {
			connection.Close()
		}
		fmt.Println(address, err == nil)
	}
}

// serviceOf is "shop/cart" of "shop/cart:add".
func serviceOf(operation string) (service, name string) {
	service, name, _ = strings.Cut(operation, ":")
	return service, name
}
