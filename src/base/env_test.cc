#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/env_testing.h"

namespace quire {
namespace {

TEST(Env, FilesOfAnySizeComeBack) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "file");
  for (const size_t size : {0U, 1U, 4096U, 100000U}) {
    const std::string contents(size, 'x');
    ASSERT_TRUE(Env::Posix().WriteFile(path, contents).ok());
    EXPECT_EQ(*Env::Posix().ReadFile(path), contents);
  }
  EXPECT_FALSE(Env::Posix().ReadFile("/proc/self/status")->empty());
}

TEST(Env, NamesWhatIsMissing) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "absent");
  EXPECT_EQ(Env::Posix().ReadFile(path).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Env::Posix().Remove(path).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Env::Posix().ModifiedTime(path).error().code, ErrorCode::kNotFound);
  EXPECT_NE(Env::Posix().ReadFile(path).error().message.find(path), std::string::npos);
  EXPECT_FALSE(Env::Posix().ReadFile(directory.path()).ok());
}

TEST(Env, ABoundedReadStopsAtItsBound) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "file");
  ASSERT_TRUE(Env::Posix().WriteFile(path, "abcdef").ok());
  EXPECT_EQ(*Env::Posix().ReadFileUpTo(path, 0), "");
  EXPECT_EQ(*Env::Posix().ReadFileUpTo(path, 4), "abcd");
  EXPECT_EQ(*Env::Posix().ReadFileUpTo(path, 6), "abcdef");
  EXPECT_EQ(*Env::Posix().ReadFileUpTo(path, 100'000), "abcdef");
  EXPECT_EQ(Env::Posix().ReadFileUpTo("/proc/self/status", 10)->size(), 10U);
  std::filesystem::resize_file(path, uint64_t{1} << 40);
  EXPECT_EQ(Env::Posix().ReadFileUpTo(path, 8)->substr(0, 6), "abcdef");
}

TEST(Env, ABoundedReadTakesFilesAlone) {
  const TemporaryDirectory directory;
  const std::string fifo = JoinPath(directory.path(), "fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(Env::Posix().ReadFileUpTo(fifo, 100).error().code, ErrorCode::kDataLoss);
  EXPECT_EQ(Env::Posix().ReadFileUpTo("/dev/zero", 100).error().code, ErrorCode::kDataLoss);
  EXPECT_EQ(Env::Posix().ReadFileUpTo(directory.path(), 100).error().code, ErrorCode::kDataLoss);
  EXPECT_EQ(Env::Posix().ReadFileUpTo(JoinPath(fifo, "x"), 100).error().code, ErrorCode::kIo);
  EXPECT_EQ(Env::Posix().ReadFileUpTo(JoinPath(directory.path(), "x"), 100).error().code, ErrorCode::kNotFound);
}

TEST(Env, TooManyOpenFilesMayPass) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "file");
  ASSERT_TRUE(Env::Posix().WriteFile(path, "abc").ok());
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Result<std::string> read = Env::Posix().ReadFileUpTo(path, 100);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kResourceExhausted) << read.error().message;
  EXPECT_TRUE(Env::Posix().ReadFileUpTo(path, 100).ok());
}

TEST(Env, RenamesOverAnOldFileAndRemoves) {
  const TemporaryDirectory directory;
  const Env& env = Env::Posix();
  const std::string a = JoinPath(directory.path(), "a"), b = JoinPath(directory.path(), "b");
  ASSERT_TRUE(env.WriteFile(a, "new").ok() && env.WriteFile(b, "old").ok());
  ASSERT_TRUE(env.Rename(a, b).ok());
  EXPECT_FALSE(env.Exists(a));
  EXPECT_EQ(*env.ReadFile(b), "new");
  ASSERT_TRUE(env.Remove(b).ok());
  EXPECT_FALSE(env.Exists(b));
}

TEST(Env, CreatesDirectoriesButNotOverAFile) {
  const TemporaryDirectory directory;
  const std::string nested = JoinPath(directory.path(), "one/two");
  EXPECT_TRUE(Env::Posix().CreateDirectories(nested).ok());
  EXPECT_TRUE(Env::Posix().CreateDirectories(nested).ok());
  EXPECT_TRUE(Env::Posix().IsDirectory(nested));
  const std::string file = JoinPath(directory.path(), "file");
  ASSERT_TRUE(Env::Posix().WriteFile(file, "").ok());
  EXPECT_FALSE(Env::Posix().CreateDirectories(file).ok());
  EXPECT_FALSE(Env::Posix().CreateDirectories(JoinPath(file, "below")).ok());
}

TEST(Env, ATouchedFileIsTheNewest) {
  const TemporaryDirectory directory;
  const Env& env = Env::Posix();
  const std::string a = JoinPath(directory.path(), "a"), b = JoinPath(directory.path(), "b");
  for (const std::string& path : {a, b}) {
    ASSERT_TRUE(env.WriteFile(path, "").ok() && env.SetModifiedNow(path).ok());
  }
  EXPECT_LT(*env.ModifiedTime(a), *env.ModifiedTime(b));
  ASSERT_TRUE(env.SetModifiedNow(a).ok());
  EXPECT_GT(*env.ModifiedTime(a), *env.ModifiedTime(b));
}

TEST(Env, OneHoldsALockAtATime) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "lock");
  auto held = *Env::Posix().Lock(path);
  EXPECT_EQ(Env::Posix().Lock(path).error().code, ErrorCode::kUnavailable);
  held.reset();
  EXPECT_TRUE(Env::Posix().Lock(path).ok());
}

TEST(FaultEnv, FailsAsOftenAsItIsTold) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "file");
  FaultEnv env;
  env.Fail(FaultEnv::Operation::kWrite, 1);
  EXPECT_EQ(env.WriteFile(path, "abcd").error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(*env.ReadFile(path), "ab");
  EXPECT_TRUE(env.WriteFile(path, "abcd").ok());
  env.Fail(FaultEnv::Operation::kRead);
  EXPECT_FALSE(env.ReadFile(path).ok());
  EXPECT_FALSE(env.ReadFile(path).ok());
  env.Fail(FaultEnv::Operation::kRead, 0);
  EXPECT_TRUE(env.ReadFile(path).ok());
}

TEST(FaultEnv, FailsRegularly) {
  const TemporaryDirectory directory;
  FaultEnv env;
  env.FailRegularly(FaultEnv::Operation::kWrite, 2, 5);
  std::string outcomes;
  for (int i = 0; i < 10; ++i) outcomes += env.WriteFile(JoinPath(directory.path(), "file"), "x").ok() ? '+' : '-';
  EXPECT_EQ(outcomes, "+++--+++--");
}

TEST(FaultEnv, DamagesWhatIsRead) {
  const TemporaryDirectory directory;
  const std::string path = JoinPath(directory.path(), "file"), contents(1000, 'x');
  FaultEnv env;
  ASSERT_TRUE(env.WriteFile(path, contents).ok());
  env.Fail(FaultEnv::Operation::kDamage, 3);
  for (int i = 0; i < 3; ++i) EXPECT_NE(*env.ReadFileUpTo(path, 1000), contents);
  EXPECT_EQ(*env.ReadFileUpTo(path, 1000), contents);
  env.Fail(FaultEnv::Operation::kThrow, 1);
  EXPECT_THROW((void)env.ReadFileUpTo(path, 1000).ok(), std::bad_alloc);
}

}  // namespace
}  // namespace quire
