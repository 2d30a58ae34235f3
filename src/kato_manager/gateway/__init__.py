"""One port that reaches every instance.

    supervisor (serve)      keeps the processes and the listening socket
    ├── front workers       own the port; data path only
    └── control             timers and the HTTP API, on a Unix socket; one more upstream for fronts

Fronts follow the registry file by themselves; instances notice none of these processes.
"""
