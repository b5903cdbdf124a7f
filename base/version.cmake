# Writes OUT with the version, the commit and the compiler; touches it only where something changed.
execute_process(COMMAND git rev-parse HEAD WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE bad)
if(bad)
  set(commit "unknown")
else()
  # what runs write into results/ is no other program
  execute_process(COMMAND git status --porcelain --untracked-files=no -- . :!results WORKING_DIRECTORY ${SOURCE}
                  OUTPUT_VARIABLE dirty ERROR_QUIET)
  if(dirty)
    string(APPEND commit "+")
  endif()
endif()
set(text "#include \"version.h\"\n\nconst char ptq_version[] = \"${VERSION}\";\nconst char ptq_commit[] = \"${commit}\";\n")
string(APPEND text "const char ptq_compiler[] = \"${COMPILER}\";\n")
string(APPEND text "const char ptq_source_folder[] = \"${SOURCE}\";\n")
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
