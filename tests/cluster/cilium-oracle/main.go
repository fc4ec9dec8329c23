package main

import (
	"github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
)

func main() { _ = v2.CiliumNetworkPolicy{} }
