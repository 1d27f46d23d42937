# How every target of the project is compiled, and the three ways to declare one.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

find_package(Threads REQUIRED)

option(QUIRE_WERROR "Treat warnings as errors" OFF)
set(QUIRE_SANITIZE "" CACHE STRING "Sanitizers: empty, address,undefined or thread")

add_library(quire_options INTERFACE)
target_include_directories(quire_options INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
# Designated initialisers leave members at their defaults on purpose.
# The numerics contract needs the same roundings everywhere: no contraction that the source does not spell out.
# Flags of the C++ compiler are not given to nvcc.
function(quire_cxx_options)
  target_compile_options(quire_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${ARGN}>")
endfunction()
quire_cxx_options(-Wall -Wextra -Wconversion -Wno-missing-field-initializers -ffp-contract=off)
# False alarms of g++ 12 in its own std::string, std::optional and std::variant.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  quire_cxx_options(-Wno-maybe-uninitialized -Wno-restrict)
endif()
target_link_libraries(quire_options INTERFACE Threads::Threads)
if(QUIRE_WERROR)
  quire_cxx_options(-Werror)
endif()
# In the presets of CI up to eight files of a target are compiled as one, their headers and templates once. So within a
# target, names must differ even in anonymous namespaces. The other presets compile file by file.
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # To g++ an anonymous namespace of an included file is a header's.
  quire_cxx_options(-Wno-subobject-linkage)
endif()
if(QUIRE_SANITIZE)
  quire_cxx_options(-fsanitize=${QUIRE_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(quire_options INTERFACE -fsanitize=${QUIRE_SANITIZE})
  if(QUIRE_SANITIZE MATCHES "undefined")
    # What is left out is checked at every use of a pointer: twice the time to compile for what the address sanitizer
    # or the machine itself traps as well.
    quire_cxx_options(-fno-sanitize-recover=undefined
                      -fno-sanitize=null,object-size,vptr,nonnull-attribute,returns-nonnull-attribute)
  endif()
  if(QUIRE_SANITIZE MATCHES "thread")
    quire_cxx_options(-Wno-tsan)
  endif()
endif()

# quire_library(base SOURCES a.cc b.cc DEPS fmt::fmt [COLD]): the static library quire_base. COLD: no test waits for
# it, so sanitizers do not optimise it: a third less to compile.
function(quire_library name)
  cmake_parse_arguments(ARG "COLD" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(quire_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(quire_${name} PUBLIC quire_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  if(QUIRE_SANITIZE AND ARG_COLD)
    target_compile_options(quire_${name} PRIVATE -O0)
  endif()
endfunction()

# What the sanitizer presets build and run: every test whose labels hold the preset's name.
add_custom_target(asan_tests)
add_custom_target(tsan_tests)

# quire_test(block_pool_test SOURCES block_pool_test.cc DEPS quire_kv [TIMEOUT seconds] [LABELS ...] [OPTIMIZED]
#            [GUARDED args...] [UNSANITIZED patterns...]): one test program, one entry of CTest. A program all of whose
# tests were skipped is reported as skipped. GUARDED: a second program of the same objects, whose backends' memory the
# host cannot touch, run with these arguments. UNSANITIZED: tests that sanitizers leave out, as they take long and
# others run the same code. OPTIMIZED: what runs long is in the test's own files: sanitizers optimise those, too.
function(quire_test name)
  cmake_parse_arguments(ARG "OPTIMIZED" "TIMEOUT" "SOURCES;DEPS;LABELS;GUARDED;UNSANITIZED" ${ARGN})
  if(NOT QUIRE_BUILD_TESTS)
    return()
  endif()
  # A test that hangs is to end, not one that is slow: a sanitizer on two slow cores takes up to twenty times as long.
  if(NOT ARG_TIMEOUT AND QUIRE_SANITIZE)
    set(ARG_TIMEOUT 600)
  elseif(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(NOT QUIRE_SANITIZE AND "GUARDED" IN_LIST ARGN)
    add_library(${name}_objects OBJECT ${ARG_SOURCES})
    target_link_libraries(${name}_objects PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock)
    target_compile_definitions(${name}_objects PRIVATE QUIRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    set(ARG_SOURCES $<TARGET_OBJECTS:${name}_objects>)
    add_executable(guarded_${name} ${ARG_SOURCES} $<TARGET_OBJECTS:quire_guarded_backend>)
    target_link_libraries(guarded_${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
    add_test(NAME guarded_${name} COMMAND guarded_${name} ${ARG_GUARDED})
    set_tests_properties(guarded_${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS guarded)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE QUIRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(QUIRE_SANITIZE AND NOT ARG_OPTIMIZED)
    target_compile_options(${name} PRIVATE -O0)  # in half the time
  endif()
  set(filter "")
  if(QUIRE_SANITIZE AND ARG_UNSANITIZED)
    list(JOIN ARG_UNSANITIZED : filter)
    set(filter --gtest_filter=-${filter})
  endif()
  add_test(NAME ${name} COMMAND ${name} ${filter})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
  foreach(sanitizer asan tsan)
    if(sanitizer IN_LIST ARG_LABELS)
      add_dependencies(${sanitizer}_tests ${name})
    endif()
  endforeach()
endfunction()

# quire_benchmark(bench_gemm SOURCES gemm.cc DEPS quire_cpu): a program under bench/, never run by CTest.
function(quire_benchmark name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  if(NOT QUIRE_BUILD_BENCHMARKS)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  target_compile_definitions(${name} PRIVATE QUIRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endfunction()
