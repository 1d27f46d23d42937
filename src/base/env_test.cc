#include <gtest/gtest.h>

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

}  // namespace
}  // namespace quire
