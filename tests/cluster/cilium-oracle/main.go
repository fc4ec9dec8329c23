// Command cilium-oracle says what Cilium itself thinks of a policy.
//
// It reads one CiliumNetworkPolicy (or CiliumClusterwideNetworkPolicy) as JSON per line and answers
// each with one line, {"ok": bool, "error": string}, in the same order. A policy is decoded as an API
// server does with strict field validation, then handed to Parse, the call that Cilium's agent makes
// before it enforces anything. It holds no rule of its own: an opinion of ours here would defeat its
// purpose. It ends with its standard input.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	v2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/policy/api"
	kjson "sigs.k8s.io/json"
)

// The name that Cilium gives to a cluster which nobody named.
const clusterName = "default"

type verdict struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

type policy interface {
	Parse(logger *slog.Logger, clusterName string) (api.Rules, error)
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cilium-oracle:", err)
		os.Exit(1)
	}
}

// serve answers each line of in on out until in ends. An answer is flushed at once when nothing more
// is waiting to be read, so that one question gets its answer and a batch does not pay for each.
func serve(in io.Reader, out io.Writer) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriterSize(out, 1<<16)
	answers := json.NewEncoder(writer)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			if err := answers.Encode(judge(line)); err != nil {
				return err
			}
		}
		if reader.Buffered() == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// judge turns one line into a verdict. A panic of Cilium's on a strange policy is a refusal that says
// so: the caller learns about it, and the next policy is still answered.
func judge(line []byte) (answer verdict) {
	defer func() {
		if cause := recover(); cause != nil {
			answer = verdict{Error: fmt.Sprintf("panic: %v", cause)}
		}
	}()
	if err := parse(line); err != nil {
		return verdict{Error: err.Error()}
	}
	return verdict{OK: true}
}

func parse(line []byte) error {
	var header struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(line, &header); err != nil {
		return err
	}
	var subject policy
	switch {
	case header.APIVersion != v2.SchemeGroupVersion.String():
		return fmt.Errorf("apiVersion %q is not %q", header.APIVersion, v2.SchemeGroupVersion)
	case header.Kind == v2.CNPKindDefinition:
		subject = &v2.CiliumNetworkPolicy{}
	case header.Kind == v2.CCNPKindDefinition:
		subject = &v2.CiliumClusterwideNetworkPolicy{}
	default:
		return fmt.Errorf("kind %q is not a policy", header.Kind)
	}
	strict, err := kjson.UnmarshalStrict(line, subject)
	if err := errors.Join(append(strict, err)...); err != nil {
		return err
	}
	_, err = subject.Parse(slog.New(slog.DiscardHandler), clusterName)
	return err
}
