# Two commands matter: `make demo` and `make test`. Everything is done by scripts/.
.PHONY: help check test fuzz demo demo-stop bench deny
.NOTPARALLEL:

help:
	@sed -n 's/^# make /make /p' Makefile

# make check      formatting, lints, unit tests: the fast loop
check:
	@bash scripts/check.sh

# make test       the whole suite, on real Docker that it starts itself
test:
	@bash scripts/test.sh

# make fuzz       every parser of bytes from outside, TIME=300 seconds each
fuzz:
	@bash scripts/fuzz.sh

# make demo       installs and updates the reference product, leaves it running
demo:
	@bash scripts/demo.sh start

# make demo-stop  removes all of the demo
demo-stop:
	@bash scripts/demo.sh stop

# make bench      the measurements, with their goals
bench:
	@bash scripts/bench.sh

# make deny       licenses, bans and sources of the dependencies (cargo-deny)
deny:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	@cargo deny --all-features check bans licenses sources
