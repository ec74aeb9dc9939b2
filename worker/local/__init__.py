"""`up` and `demo` on one machine: processes, supervisor, embedded Redis."""
