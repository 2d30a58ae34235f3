from engines import fleet

__all__ = ["fleet"]
