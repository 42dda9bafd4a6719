//go:build tools

// Package tools names the program that scripts/build-jaeger builds, so that go.mod and go.sum hold what it needs.
package tools

import _ "github.com/jaegertracing/jaeger/cmd/jaeger"
