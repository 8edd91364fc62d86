package main

import (
	"os"
	"time"
)

// Script is what a service plays: its operations as programs over stations, as the fleet model has them.
type Script struct {
	Service    string               `json:"service"`
	Operations map[string][]Step    `json:"operations"`
	Stations   map[string]StationOf `json:"stations"`
	StartS     float64              `json:"start_s"`
	Ports      []int                `json:"ports"`
	Behaviours []Behaviour          `json:"behaviours"`
}

type StationOf struct {
	Servers    int  `json:"servers"`
	QueueLimit *int `json:"queue_limit"`
	Held       int  `json:"held"` // servers that a stuck session keeps
}

// Step is one of: work, call, hold, publish, cached.
type Step struct {
	Do          string   `json:"do"`
	Station     string   `json:"station"`
	MeanS       float64  `json:"mean_s"`
	CV          float64  `json:"cv"`
	Target      string   `json:"target"`
	URL         string   `json:"url"`
	Path        string   `json:"path"` // of a real program; a stand-in is asked by operation
	Position    int      `json:"position"`
	Probability float64  `json:"probability"`
	TimeoutS    *float64 `json:"timeout_s"`
	Retries     int      `json:"retries"`
	BackoffS    float64  `json:"backoff_s"`
	DelayS      float64  `json:"delay_s"`
	Group       *int     `json:"group"`
	Cancel      bool     `json:"cancel"`
	Required    bool     `json:"required"`
	HitRatio    float64  `json:"hit_ratio"`
	Body        []Step   `json:"body"`
}

// Behaviour holds for pods whose image and environment match; an empty match is every pod.
type Behaviour struct {
	Image         string   `json:"image"`
	Env           []string `json:"env"` // name, value
	ErrorRatio    float64  `json:"error_ratio"`
	Speed         float64  `json:"speed"`
	CrashAfterS   *float64 `json:"crash_after_s"`
	LeakBytesPerS float64  `json:"leak_bytes_per_s"`
	NeverReady    bool     `json:"never_ready"`
}

// LoadScript is what the generator of requests plays.
type LoadScript struct {
	Journeys []Journey `json:"journeys"`
}

type Journey struct {
	Name    string  `json:"name"`
	RateRps float64 `json:"rate_rps"`
	Call    Step    `json:"call"`
}

// conduct is how this pod behaves now: every matching behaviour together.
func (s *Script) conduct() Behaviour {
	now := Behaviour{Speed: 1}
	works := 1.0 // Share of requests that no behaviour fails.
	for _, one := range s.Behaviours {
		// An image tells its own name: the build of each alias sets it.
		if one.Image != "" && one.Image != os.Getenv("STAND_IN_IMAGE") {
			continue
		}
		if len(one.Env) == 2 && os.Getenv(one.Env[0]) != one.Env[1] {
			continue
		}
		works *= 1 - one.ErrorRatio
		if one.Speed > 0 {
			now.Speed *= one.Speed
		}
		if one.CrashAfterS != nil && (now.CrashAfterS == nil || *one.CrashAfterS < *now.CrashAfterS) {
			now.CrashAfterS = one.CrashAfterS
		}
		now.LeakBytesPerS += one.LeakBytesPerS
		now.NeverReady = now.NeverReady || one.NeverReady
	}
	now.ErrorRatio = 1 - works
	return now
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
