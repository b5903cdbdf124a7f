/* The ptq command: one table of commands. Here alone errors are printed and the process ends. */
#include "bench.h"
#include "commands.h"
#include "cuda/cuda.h"
#include "eval.h"
#include "generate.h"
#include "ops.h"
#include "options.h"
#include "page.h"
#include "pool.h"
#include "progress.h"
#include "quantize.h"
#include "tokenize.h"
#include "version.h"
#include "words.h"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name, *operands, *summary, *options;
    enum ptq_status (*run)(const struct ptq_options *options, struct ptq_error *err);
} commands[] = {
    {"run", "EXPERIMENT.yaml", "an experiment's cells into a results file; goes on where it stopped",
     "out set quick reuse fresh dry-run threads memory launcher jobs cell merge quiet", ptq_command_run},
    {"eval", "MODEL", "perplexity of a model, quantised or not, on a text",
     "text method calib window max-windows calib-windows calib-window calib-sample seed threads device path bos "
     "reference json "
     "out quiet",
     ptq_eval},
    {"generate", "MODEL", "text that goes on from a prompt, on packed weights",
     "prompt n method calib calib-windows calib-window calib-sample seed threads device path temperature top-k top-p "
     "json quiet",
     ptq_generate},
    {"quantize", "MODEL", "a quantised model as a checkpoint that other programs, or ptq itself, load",
     "method calib calib-windows calib-window calib-sample format out text window max-windows bos seed threads device "
     "json quiet",
     ptq_quantize},
    {"bench", "[OP...]", "how fast the operations are, against what this machine can", "threads json", ptq_bench},
    {"tokenize", "MODEL|tokenizer.json [FILE|-]", "token ids of a text on one line", "special", ptq_tokenize},
    {"inspect", "PATH", "what is in a model, a checkpoint file, a results file", "json", ptq_command_inspect},
    {"diff", "A B", "two models, tensor by tensor; two results, cell by cell", "", ptq_command_diff},
    {"table", "FILE.h5...", "results as a table", "format against", ptq_command_table},
    {"claims", "CLAIMS.yaml [FOLDER]", "what the articles claim, judged by the results in a folder", "format dry-run",
     ptq_command_claims},
    {"plot", "FILE.h5...", "results as figures: SVG, PNG and their numbers as CSV", "out quiet", ptq_command_plot},
    {"report", "FILE.h5...", "results as one page: tables, figures, provenance, what failed; HTML and PDF",
     "out format claims quiet", ptq_command_report},
    {"methods", "[METHOD]", "the methods, or one: parameters, ranges, defaults, presets", "", ptq_command_methods},
    {"models", "", "the model families", "", ptq_command_models},
    {"experiments", "[EXPERIMENT.yaml]", "the experiments, with their titles and cells; of one, what it reads",
     "set quick", ptq_command_experiments},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out)
{
    fprintf(out, "ptq %s: weight-only post-training quantisation of language models, measured\n\n", ptq_version);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  ptq %-10s %-38s %s\n", commands[i].name, commands[i].operands, commands[i].summary);
    fprintf(out,
            "\nptq COMMAND --help lists a command's options; MODEL is a Hugging Face folder, a GGUF file, or a name in "
            "the cache (README).\n");
}

static const struct command *find_command(const char *name, struct ptq_error *err)
{
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(names[i], name) == 0) return &commands[i];
    }
    const char *near = ptq_nearest(name, names, N_COMMANDS);
    ptq_fail(err, PTQ_EUSAGE, "command '%.40s' is not known%s%s%s; ptq --help lists the commands", name,
             near ? ", did you mean '" : "", near ? near : "", near ? "'" : "");
    return NULL;
}

static void print_help(const struct command *command)
{
    printf("ptq %s %s\n%s\n\n", command->name, command->operands, command->summary);
    ptq_options_print(command->name, command->options);
}

static int usable_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

static enum ptq_status run(int argc, char **argv, struct ptq_arena *arena, struct ptq_error *err)
{
    const struct command *command = find_command(argv[1], err);
    struct ptq_options options;
    if (!command) return err->status;
    PTQ_TRY(ptq_options_parse(arena, argc - 2, argv + 2, command->options, &options, err));
    if (options.help) {
        print_help(command);
        return PTQ_OK;
    }
    ptq_progress_quiet(options.quiet ? PTQ_QUIET : PTQ_LOUD);
    ptq_catch_signals();
    ptq_pool_start(options.threads ? (int)options.threads : usable_cores());
    enum ptq_status status = command->run(&options, err);
    ptq_pool_stop();
    return status;
}

/* Where a caller closed a standard stream, the next file to be opened would get its number, and what is said to the
 * user would go into that file. The mode is the wrong one, so that a closed stdout still fails. */
static void keep_standard_streams(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
}

/* Data that did not reach stdout is an error like any other. */
static enum ptq_status flush_output(enum ptq_status status, struct ptq_error *err)
{
    if (!status) return ptq_output_check(err);
    fflush(stdout); /* the sentence is that of the failure */
    return status;
}

/* Of the words that are no command: --help, --version. Returns whether word is one. */
static int answer(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_usage(stdout);
        return 1;
    }
    if (strcmp(word, "--version") != 0) return 0;
    char cuda[512];
    ptq_cuda_describe(cuda, sizeof cuda);
    printf("ptq %s (%s)\n%s; %s\n%s\n", ptq_version, ptq_commit, ptq_compiler, ptq_blas_name(), cuda);
    return 1;
}

static int exit_code;

/* Once the user has been told why, what libraries want at exit and do not get is no second reason. */
static void end_as_said(size_t bytes)
{
    (void)bytes;
    _exit(exit_code);
}

int main(int argc, char **argv)
{
    keep_standard_streams();
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    /* Large blocks come from the system and go back to it; left to itself, the allocator keeps them between cells. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    struct ptq_arena *arena = ptq_arena_make("command line");
    struct ptq_error err = {0};
    enum ptq_status status = answer(argv[1]) ? PTQ_OK : run(argc, argv, arena, &err);
    status = flush_output(status, &err);
    ptq_arena_free(arena);
    if (status == PTQ_OK) return 0;
    ptq_progress_clear();
    fprintf(stderr, "ptq: %s\n", err.text);
    exit_code = status == PTQ_EINTERRUPT ? 128 + ptq_signal_seen() : ptq_status_exit_code(status);
    ptq_on_out_of_memory(end_as_said);
    return exit_code;
}
