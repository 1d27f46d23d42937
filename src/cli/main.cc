#include "cli/parse.h"

int main(int argc, char** argv) { return quire::Main(argc, argv); }
