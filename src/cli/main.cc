#include <cstdio>
#include <exception>

#include "cli/output.h"
#include "cli/parse.h"

// What a library throws at the main thread, such as for want of memory, ends the program with a message.
int main(int argc, char** argv) {
  try {
    return quire::WithOutputChecked(quire::Main(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quire: %s\n", error.what());
    return 1;
  }
}
