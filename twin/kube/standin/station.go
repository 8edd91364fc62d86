package main

import (
	"container/list"
	"context"
	"errors"
	"math"
	"math/rand"
	"runtime"
	"sync"
	"syscall"
	"time"
)

var errFull = errors.New("queue is full")

// station is a limited number of servers with a first-come, first-served queue before them.
type station struct {
	guard   sync.Mutex
	of      StationOf
	busy    int
	waiting list.List // of chan struct{}
	gauge   func(busy, servers int)
}

func newStation(metrics *registry, service, name string) *station {
	return &station{gauge: func(busy, servers int) {
		metrics.set("twin_station_busy", float64(busy), "service", service, "station", name)
		metrics.set("twin_station_servers", float64(servers), "service", service, "station", name)
	}}
}

func (s *station) resize(of StationOf) {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.of = of
	s.admit()
}

func (s *station) enter(ctx context.Context) error {
	s.guard.Lock()
	if s.waiting.Len() == 0 && s.busy+s.of.Held < s.of.Servers {
		s.busy++
		s.show()
		s.guard.Unlock()
		return nil
	}
	if limit := s.of.QueueLimit; limit != nil && s.waiting.Len() >= *limit {
		s.guard.Unlock()
		return errFull
	}
	turn := make(chan struct{})
	place := s.waiting.PushBack(turn)
	s.guard.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		s.guard.Lock()
		defer s.guard.Unlock()
		select {
		case <-turn: // It came at the same moment, and is given back.
			s.busy--
			s.admit()
		default:
			s.waiting.Remove(place)
		}
		return ctx.Err()
	}
}

func (s *station) leave() {
	s.guard.Lock()
	defer s.guard.Unlock()
	s.busy--
	s.admit()
}

// admit lets in as many as there is room for. The caller holds the guard.
func (s *station) admit() {
	for s.waiting.Len() > 0 && s.busy+s.of.Held < s.of.Servers {
		s.busy++
		close(s.waiting.Remove(s.waiting.Front()).(chan struct{}))
	}
	s.show()
}

func (s *station) show() { s.gauge(s.busy+s.of.Held, s.of.Servers) }

// draw is a time with that mean and coefficient of variation: gamma distributed by sums for a variation below one,
// hyperexponential with balanced means above it. The fleet model matches the same two moments.
func draw(mean, cv float64) float64 {
	switch {
	case mean <= 0:
		return 0
	case cv <= 0.05:
		return mean
	case cv > 1.001:
		squared := cv * cv
		share := (1 + math.Sqrt((squared-1)/(squared+1))) / 2
		if rand.Float64() < share {
			return rand.ExpFloat64() * mean / (2 * share)
		}
		return rand.ExpFloat64() * mean / (2 * (1 - share))
	default: // Erlang of k phases, or k-1 with the share that keeps the mean and the variation (Tijms 1986).
		k := math.Ceil(1 / (cv * cv))
		share := (k*cv*cv - math.Sqrt(k*(1+cv*cv)-k*k*cv*cv)) / (1 + cv*cv)
		phases := k
		if rand.Float64() < share {
			phases = k - 1
		}
		sum := 0.0
		for range int(phases) {
			sum += rand.ExpFloat64()
		}
		return sum * mean / (k - share)
	}
}

// burn uses processor time of its own thread, however long that takes beside others.
func burn(amount time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	end := threadTime() + amount
	for threadTime() < end {
		for i := 0; i < 2000; i++ {
			sink += i
		}
	}
}

var sink int

func threadTime() time.Duration {
	const ofThread = 1
	var used syscall.Rusage
	if err := syscall.Getrusage(ofThread, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
