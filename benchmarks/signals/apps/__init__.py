"""The same small application, once for each subject, as its documentation would write it."""
