"""Start the page; ``python app.py --help`` lists the options. On Hugging Face Spaces this file is the whole Space."""

import sys

from cxr.libraries import LibraryError, check_libraries
from cxr.memory import PAGE_MB, keep_little_free_memory, one_sentence_without_memory, refuse_little_memory

try:
    check_libraries()
except LibraryError as error:
    sys.stderr.write(f"app.py: {error}\n")
    sys.exit(2)

refuse_little_memory("app.py", PAGE_MB)
keep_little_free_memory()
with one_sentence_without_memory("app.py"):
    from cxr.web.jobs.spaces_gpu import place_model
    from cxr.web.server.arguments import parse_arguments
    from cxr.web.server.launch import end_on_signals, prepare_environment, serve

    settings = parse_arguments(sys.argv[1:] if __name__ == "__main__" else [])
    if __name__ == "__main__":
        end_on_signals()
    prepare_environment()

    from cxr.web.page.blocks import build_page, new_job_table  # gradio reads the environment when it is imported

    place_model(settings.choice)
    jobs = new_job_table(settings.limits)
    demo = build_page(settings.choice, settings.limits, jobs, settings.reference)

if __name__ == "__main__":
    with one_sentence_without_memory("app.py"):
        serve(demo, settings, jobs)
