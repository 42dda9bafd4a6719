//go:build tools

// Package tools names the programs that scripts/build-prometheus builds, so that go.mod and go.sum hold what they need.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
