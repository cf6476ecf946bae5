//! A small library that stands before the system's own functions in the process of a host or a command (`LD_PRELOAD`): a disk that stalls, fails,
//! is slow or does not sync, heartbeats that are taken late, and a neighbour at an address of another machine. The programs themselves know nothing of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{Host, TestDir};

/// The library. What it does is said by the environment of the process:
/// * syncs wait while the file exists that `SYNC_STALL_FILE` names, and then fail if the one exists that `SYNC_FAIL_FILE` names;
/// * each sync takes `SYNC_DELAY_MS` longer;
/// * with `SYNC_SKIP` nothing is synced;
/// * connections to the IPv4 address that `CONNECT_HERE` names go to 127.0.0.1;
/// * `HEARTBEAT_DELAY_MS` pass before each thread that the watchdog's thread `ark-heartbeat` starts to take heartbeats.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int exists(const char *variable) {
    const char *file = getenv(variable);
    return file != NULL && access(file, F_OK) == 0;
}

static void pause_for(const char *variable) {
    const char *milliseconds = getenv(variable);
    if (milliseconds != NULL)
        usleep(1000 * (useconds_t)atol(milliseconds));
}

static int wait_and_fail(void) {
    while (exists("SYNC_STALL_FILE"))
        usleep(5000);
    pause_for("SYNC_DELAY_MS");
    if (!exists("SYNC_FAIL_FILE"))
        return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (getenv("SYNC_SKIP") != NULL)
        return 0;
    return wait_and_fail() ? -1 : next(fd);
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (getenv("SYNC_SKIP") != NULL)
        return 0;
    return wait_and_fail() ? -1 : next(fd);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
    int (*next)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    const struct sockaddr *given = address.__sockaddr__;
    const char *moved = getenv("CONNECT_HERE");
    struct sockaddr_in here;
    if (moved != NULL && length >= sizeof here && given->sa_family == AF_INET) {
        memcpy(&here, given, sizeof here);
        if (here.sin_addr.s_addr == inet_addr(moved)) {
            here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            return next(fd, (const struct sockaddr *)&here, sizeof here);
        }
    }
    return next(fd, given, length);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "ark-heartbeat") == 0)
        pause_for("HEARTBEAT_DELAY_MS");
    return next(thread, attributes, start, argument);
}
"#;

/// Compiles the library in a directory. Returns its path, for `LD_PRELOAD`.
///
/// # Panics
/// There is no C compiler, or the directory cannot be written to.
#[must_use]
pub fn build_fault_library(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("faults.c"), dir.join("faults.so"));
    std::fs::write(&source, SOURCE).expect("the source");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .expect("a C compiler");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    library
}

/// Starts a host in a directory, each of whose syncs takes so many milliseconds longer.
///
/// # Panics
/// There is no C compiler, or the host does not become ready.
#[must_use]
pub fn start_on_slow_disk(dir: &TestDir, delay_ms: u32) -> Host {
    let library = build_fault_library(dir.path());
    let config = dir.config();
    Host::try_start_with(
        &dir.data(),
        &["--config", config.to_str().expect("UTF-8")],
        &[
            ("LD_PRELOAD", library.to_str().expect("UTF-8")),
            ("SYNC_DELAY_MS", &delay_ms.to_string()),
        ],
    )
    .expect("a host")
}

/// Where Debian's package `faketime` puts the library for programs with threads.
///
/// # Panics
/// It is not installed.
#[must_use]
pub fn find_faketime() -> PathBuf {
    ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .iter()
        .map(|triple| PathBuf::from(format!("/usr/lib/{triple}/faketime/libfaketimeMT.so.1")))
        .find(|path| path.is_file())
        .expect("faketime; install it with `apt-get install faketime`")
}
