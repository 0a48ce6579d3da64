"""Canary suite: values that must not appear in any output, and the search for them.

Every declared secret has a canary, a new one for each run (:mod:`.canaries`). The
programs in ``programs/`` mishandle it as applications do by accident, each in its own
process; the tests collect the output of such a process, and search it for every canary in every
encoded form.

To cover a new output (a page, a command, the log record of a hook):

1. Produce it in a program: a new one in ``programs/``, or a new scenario in a table of an
   existing one. The values come from :data:`.canaries.ENVIRONMENT`, or from files; the source
   of a program never contains a value, because tracebacks show source lines.
   :func:`.children.check_cases` runs a table of cases, each in a process that is forked from
   one interpreter.
2. Pass the output to :class:`.outputs.Outputs`: ``add`` takes any text or bytes,
   ``add_child`` a finished process, ``add_files`` all files below a directory,
   ``add_response`` an HTTP response. Then call ``outputs.assert_silent()``, and assert
   something that shows that the scenario took place.

If only redaction removes the value, add the test to ``test_switched_off.py`` too, which asserts
that it fails without redaction.

Out of reach, and therefore not searched: ``print``, the output of child processes, a
value cut in half, and the variables of a frame that has called ``reveal``.

"""
