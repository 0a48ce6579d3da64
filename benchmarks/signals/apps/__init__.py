"""The test application, implemented for each subject as its documentation recommends."""
