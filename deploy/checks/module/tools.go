//go:build tools

// Package tools names the programs that scripts/build-deploy-tools builds, so that go.mod and go.sum hold what they need.
package tools

import (
	_ "github.com/docker/compose/v2/cmd"
	_ "sigs.k8s.io/kustomize/kustomize/v5"
)
