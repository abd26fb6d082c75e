"""The processes of a cluster under supervision: started, watched, restarted, ended.

Words: supervisord is the daemon, `Supervisor` its client, a `Program` what it runs, `Cluster` the supervised processes
together.

What supervisor (the PyPI package) does: restarts with a growing wait, stops in order with SIGTERM and SIGKILL to each
process group, rotates logs, reports states over XML-RPC on a Unix socket.
What psutil does: lists processes and reads their environment, sends signals, waits.

What is ours, and why:

- `configuration`: supervisor reads only a file, and has no way to quote some characters in it.
- `child`, `daemon`: supervisor's programs survive a `kill -9` of supervisord, and supervisord that of its launcher.
  Both are tied to their parent by the kernel (PR_SET_PDEATHSIG); `setpriv --pdeathsig` misses a parent that has died
  before, and macOS has neither.
- `system.orphans`: an engine's children are in sessions of their own, so a process group does not reach them; an
  environment variable does.
- `Cluster`: supervisor gives up after `startretries` and starts programs by priority without waiting until one answers.
  Here the owner answers first, nothing is ever given up, and a killed supervisord is started again.
- `launcher.cluster_record`: which cluster lives on a data folder.  Its lock is `flock`, which the kernel releases
  however the launcher ends.  `filelock` locks exclusively only: two `status` at once would each take the other for a
  launcher.
- `launcher.commands`: supervisord's own `-d` and `supervisorctl` know nothing of the launcher above them, which checks,
  downloads and reports progress before the first program starts.
"""
