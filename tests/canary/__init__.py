"""Canaries: values that must come out nowhere, and the search for them everywhere.

Every declared secret has a canary, made anew for each run (:mod:`.canaries`). The
programs in ``programs/`` do with it what people do by accident, in processes of their
own; the tests collect whatever such a process puts out, and search it for every canary
in every form.

An output that is new (a page, a command, a hook's log line) joins in two steps:

1. Drive it in a program: a new one in ``programs/``, or one more scenario in a table
   there. The values come by :data:`.canaries.ENVIRONMENT`, or in files; a program never
   has one in its source, which tracebacks show. :func:`.children.check_cases` runs a
   table of cases, each in a process that is forked from one interpreter.
2. Hand what came out to :class:`.outputs.Outputs`: ``add`` takes any text or bytes,
   ``add_child`` a finished process, ``add_files`` all files below a directory,
   ``add_response`` an HTTP response. Then ``outputs.assert_silent()``, and assert something
   that shows that the scenario took place.

What only redaction keeps silent belongs in ``test_switched_off.py`` too: there it has
to be found.

Out of reach, and therefore not searched: ``print``, the output of child processes, a
value cut in half, and the variables of a frame that has called ``reveal``.
"""
