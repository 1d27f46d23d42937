# The two commands. Everything else is CMake: see README.md.
BUILD := build/release
MODEL ?=
ARGS ?=

.PHONY: serve test build format clean

serve: build
	exec $(BUILD)/quire serve $(MODEL) $(ARGS)

test:
	scripts/test

build:
	scripts/setup
	cmake --preset release -DQUIRE_BUILD_TESTS=OFF -DQUIRE_BUILD_BENCHMARKS=OFF -B $(BUILD)
	cmake --build $(BUILD) --target quire

format:
	git ls-files '*.h' '*.cc' '*.cu' '*.inl' | xargs clang-format -i

clean:
	rm -rf build
