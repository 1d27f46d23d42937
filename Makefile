# The two commands. Everything else is CMake: see README.md.
BUILD := build/release
MODEL ?=
ARGS ?=
# Models that scripts/fetch_model downloads: served by that name, from where they are kept.
FETCHED := smollm2

.PHONY: serve test build format clean

serve: build
ifneq ($(filter $(MODEL),$(FETCHED)),)
	file=$$(scripts/fetch_model $(MODEL)) && \
	  exec $(BUILD)/quire serve "$$file" --served-model-name $(MODEL) $(ARGS)
else
	exec $(BUILD)/quire serve $(MODEL) $(ARGS)
endif

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
