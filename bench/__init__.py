"""The service side by side with other ways to serve the same model: `make bench`, `make profile`.

May import any room, and no room imports it. What runs as a contender lies in `bench/contenders/`.
"""
