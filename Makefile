# Everything that people do with this repository. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOLANGCI := go tool -modfile=infra/tools/go.mod golangci-lint
# The longest a package's tests may take before go test prints where they hang.
TEST_TIMEOUT ?= 25m
# More flags for the targets that end in a command: make run ARGS='--help'
ARGS ?=

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: ## Start AIaaS on this machine, with a PostgreSQL of its own (Ctrl-C stops it)
	@[ -n "$${DATABASE_URL:-}" ] || infra/tools/install-postgres.sh >/dev/null
	@infra/tools/build.sh ./functions/aiaas bin/aiaas
	@exec bin/aiaas serve $(ARGS)

.PHONY: test
test: ## Run all tests under the race detector; installs what they need
	@infra/tools/install-test.sh
	go test -race -count=1 -timeout $(TEST_TIMEOUT) ./... $(ARGS)

.PHONY: test-go
test-go: ## Run the tests that need nothing but Go and PostgreSQL, unchanged ones from the cache
	@infra/tools/install-postgres.sh >/dev/null
	go test -race -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -v -e '/tests/sdk' -e '/tests/sso' -e '/tests/browser') $(ARGS)

.PHONY: test-js
test-js: ## Run OpenAI's JavaScript SDK against the gateway, and sign in at an issuer in JavaScript
	@infra/tools/install-test.sh
	go test -race -count=1 -timeout $(TEST_TIMEOUT) ./tests/sdk/... ./tests/sso/... $(ARGS)

.PHONY: test-browser
test-browser: ## Sign in and keep an account in Chromium; SHOTS=folder keeps pictures of every page
	@infra/tools/install-test.sh
	SHOTS='$(SHOTS)' go test -race -count=1 -timeout $(TEST_TIMEOUT) ./tests/browser/... $(ARGS)

.PHONY: lint
lint: ## Check the house rules (the first run builds the linter, which takes minutes)
	$(GOLANGCI) config verify
	$(GOLANGCI) run ./... $(ARGS)

.PHONY: generate
generate: ## Write the files that follow from others (OpenAPI document, templates)
	go generate ./...

.PHONY: check-generated
check-generated: ## Fail if a generated file does not follow from its sources
	@infra/tools/check-generated.sh

.PHONY: bench
bench: ## Measure CPU per request of the gateway, beside a bare reverse proxy
	@infra/tools/install-postgres.sh >/dev/null
	go run ./tests/bench $(ARGS)

.PHONY: bench-coldstart
bench-coldstart: build-lambda ## Measure size and exec-to-first-response of each Lambda bootstrap
	@infra/tools/install-postgres.sh >/dev/null
	go run ./tests/bench/coldstart $(ARGS)

.PHONY: soak
soak: ## Kill server and PostgreSQL 200 times under load, then watch the heap for ten minutes
	@infra/tools/install-postgres.sh >/dev/null
	go run ./tests/soak $(ARGS)

.PHONY: build
build: ## Build the command into bin/aiaas
	@infra/tools/build.sh ./functions/aiaas bin/aiaas

.PHONY: build-lambda
build-lambda: ## Build all Lambda bootstraps into bin/lambda/<name>/bootstrap
	@infra/tools/build-lambda.sh

.PHONY: clean
clean: ## Remove what was built (the data in .aiaas stays)
	rm -rf bin tests/sdk/node_modules tests/sso/node_modules tests/browser/node_modules
