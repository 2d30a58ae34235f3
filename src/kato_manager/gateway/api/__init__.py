"""The control process's HTTP API: one router per noun, put together in `app`."""
