/*
 * Both axes are logarithmic, so that one file is one straight line: tokens per second are
 * bytes per second divided by the bytes of a token. The disk's bound is a flat roof.
 * Memories beside the line are what their names promise on paper: transfers per second
 * times bytes per transfer.
 */
#include "cli/roofline.h"

#include <math.h>
#include <stdbool.h>

#include "cli/benchreport.h"

#define LEFT 70.0
#define TOP 20.0
#define WIDTH 700.0
#define HEIGHT 320.0

struct axes {
    double x_low, x_high; /* GB/s */
    double y_low, y_high; /* tokens/s */
};

struct memory {
    const char *name;
    double gb_per_s;
};

static const struct memory memories[] = {
    {"2 x DDR4-3200", 2 * 3.2 * 8},
    {"2 x DDR5-5600", 2 * 5.6 * 8},
    {"256 bit LPDDR5X-8000", 8.0 * 32},
    {"12 x DDR5-4800", 12 * 4.8 * 8},
};

static void escape(FILE *file, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        case '"': fputs("&quot;", file); break;
        default: fputc(*text, file);
        }
}

/* Digits after the point that are worth showing. */
static int decimals(double value)
{
    return value < 1.0 ? 3 : value < 100.0 ? 1 : 0;
}

static double place_x(const struct axes *a, double gb_per_s)
{
    return LEFT + WIDTH * log(gb_per_s / a->x_low) / log(a->x_high / a->x_low);
}

static double place_y(const struct axes *a, double tokens_per_s)
{
    return TOP + HEIGHT - HEIGHT * log(tokens_per_s / a->y_low) / log(a->y_high / a->y_low);
}

static double gb_for(const struct sl_target *t, double tokens_per_s)
{
    return tokens_per_s * (double)t->token_bytes * 1e-9;
}

static struct axes choose_axes(const struct sl_target *t)
{
    double here = t->memory.per_s * 1e-9, need = gb_for(t, t->target);
    double low = here < need ? here : need, high = here < need ? need : here;
    double reached = gb_for(t, t->of[SL_TARGET_REACHED].median);

    low = (reached < low ? reached : low) / 4.0; /* room for labels */
    high *= 2.0;
    return (struct axes){
        .x_low = low,
        .x_high = high,
        .y_low = low * 1e9 / (double)t->token_bytes,
        .y_high = high * 1e9 / (double)t->token_bytes,
    };
}

/* 1, 2, 5, 10, 20 ... */
static double next_tick(double tick)
{
    double power = pow(10.0, floor(log10(tick * 1.001)));
    int first = (int)lround(tick / power);

    return power * (first == 1 ? 2.0 : first == 2 ? 5.0 : 10.0);
}

static double first_tick(double low)
{
    double tick = pow(10.0, floor(log10(low)));

    while (tick < low)
        tick = next_tick(tick);
    return tick;
}

static void write_grid(FILE *file, const struct axes *a)
{
    for (double x = first_tick(a->x_low); x <= a->x_high; x = next_tick(x))
        fprintf(file, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n", place_x(a, x),
                TOP, place_x(a, x), TOP + HEIGHT, place_x(a, x), TOP + HEIGHT + 18.0, x);
    for (double y = first_tick(a->y_low); y <= a->y_high; y = next_tick(y))
        fprintf(file, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT,
                place_y(a, y), LEFT + WIDTH, place_y(a, y), LEFT - 8.0, place_y(a, y) + 4.0, y);
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">GB/s read from memory</text>"
            "<text x=\"14\" y=\"%.1f\" transform=\"rotate(-90 14 %.1f)\" text-anchor=\"middle\">"
            "tokens/s</text>\n", LEFT + WIDTH / 2, TOP + HEIGHT + 40.0, TOP + HEIGHT / 2,
            TOP + HEIGHT / 2);
}

static void write_memories(FILE *file, const struct axes *a, const struct sl_target *t)
{
    for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++) {
        double gb = memories[i].gb_per_s, y = place_y(a, gb * 1e9 / (double)t->token_bytes);
        double x = place_x(a, gb);

        if (x > LEFT && x < LEFT + WIDTH - 130.0)
            fprintf(file, "<circle class=\"paper\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>"
                    "<text class=\"small\" x=\"%.1f\" y=\"%.1f\">%s, on paper</text>\n", x, y,
                    x + 8.0, y + 8.0, memories[i].name);
    }
}

/* Labels of points stand to the upper left, where the roof is not, or if is_below to the
 * lower right; on the other side where there is no room. */
static void write_point(FILE *file, const struct axes *a, const char *kind, double gb_per_s,
                        double tokens_per_s, const char *label, bool is_below)
{
    double x = place_x(a, gb_per_s), y = place_y(a, tokens_per_s);
    bool is_left = is_below ? x > LEFT + WIDTH - 140.0 : x > LEFT + 190.0;

    fprintf(file, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\"/>"
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s %.*f tokens/s</text>\n", kind, x, y,
            is_left ? x - 10.0 : x + 10.0, is_left && !is_below ? y - 8.0 : y + 18.0,
            is_left ? "end" : "start", label, decimals(tokens_per_s), tokens_per_s);
}

static void write_roof(FILE *file, const struct sl_target *t)
{
    struct axes a = choose_axes(t);
    double here = t->memory.per_s * 1e-9, disk = t->of[SL_TARGET_DISK_LIMIT].median;

    fprintf(file, "<svg viewBox=\"0 0 800 400\" role=\"img\" aria-label=\"Tokens per second that "
            "memory allows\">\n");
    write_grid(file, &a);
    fprintf(file, "<line class=\"roof\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            place_x(&a, a.x_low), place_y(&a, a.y_low), place_x(&a, a.x_high),
            place_y(&a, a.y_high));
    if (disk > a.y_low && disk < a.y_high)
        fprintf(file, "<line class=\"roof\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>"
                "<text class=\"small\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">the disk allows "
                "%.*f</text>\n", LEFT, place_y(&a, disk), LEFT + WIDTH, place_y(&a, disk),
                LEFT + WIDTH - 4.0, place_y(&a, disk) - 5.0, decimals(disk), disk);
    fprintf(file, "<line class=\"here\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
            place_x(&a, here), TOP, place_x(&a, here), TOP + HEIGHT);
    write_memories(file, &a, t);
    write_point(file, &a, "limit", here, t->of[SL_TARGET_MEMORY_LIMIT].median,
                "memory allows", false);
    write_point(file, &a, "reached", here, t->of[SL_TARGET_REACHED].median, "reached", true);
    write_point(file, &a, "target", gb_for(t, t->target), t->target, "wanted", false);
    fputs("</svg>\n", file);
}

static void write_part(FILE *file, const struct sl_target *t, const char *kind, double from_s,
                       double length_s)
{
    double x = LEFT + WIDTH * from_s / t->token_s, width = WIDTH * length_s / t->token_s;

    if (width >= 0.05)
        fprintf(file, "<rect class=\"%s\" x=\"%.1f\" y=\"10\" width=\"%.1f\" height=\"34\"/>\n",
                kind, x, width);
}

static void write_key(FILE *file, const struct sl_target *t, const char *kind, double x,
                      const char *label, double length_s)
{
    fprintf(file, "<rect class=\"%s\" x=\"%.1f\" y=\"58\" width=\"12\" height=\"12\"/>"
            "<text x=\"%.1f\" y=\"69\">%s %.3g ms, %.0f %%</text>\n", kind, x, x + 18.0, label,
            length_s * 1e3, 100.0 * length_s / t->token_s);
}

static void write_time(FILE *file, const struct sl_target *t)
{
    fprintf(file, "<h2>Where the %.3g ms of a token go</h2>\n<svg viewBox=\"0 0 800 84\" "
            "role=\"img\" aria-label=\"Time of a token by part\">\n", t->token_s * 1e3);
    write_part(file, t, "limit", 0.0, t->weights_s);
    write_part(file, t, "target", t->weights_s, t->stall_s);
    write_part(file, t, "paper", t->weights_s + t->stall_s, t->rest_s);
    write_key(file, t, "limit", LEFT, "reading weights", t->weights_s);
    write_key(file, t, "target", LEFT + 240.0, "waiting for the disk", t->stall_s);
    write_key(file, t, "paper", LEFT + 490.0, "all else", t->rest_s);
    fputs("</svg>\n", file);
}

static void write_table(FILE *file, const struct sl_target *t)
{
    fputs("<h2>Figures</h2>\n<table><tr><th></th><th>median</th><th>lowest .. highest</th></tr>\n",
          file);
    for (int f = 0; f < SL_TARGET_FIGURES; f++) {
        const struct sl_benchreport_figure *figure = &sl_benchreport_figures[f];
        const struct sl_spread *s = &t->of[f];
        int digits = decimals(s->median * figure->scale);

        if (figure->label && s->median > 0.0)
            fprintf(file, "<tr><td>%s</td><td>%.*f %s</td><td>%.*f .. %.*f</td></tr>\n",
                    figure->label, digits, s->median * figure->scale, figure->unit, digits,
                    s->low * figure->scale, digits, s->high * figure->scale);
    }
    fputs("</table>\n", file);
}

static void write_head(FILE *file, const struct sl_target *t)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>sluice bench: ",
          file);
    escape(file, t->path);
    fputs("</title>\n<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
          ":root{color-scheme:light dark;--ink:#222;--back:#fff;--faint:#ddd;--soft:#999;"
          "--blue:#1f6fb2;--green:#2b8a3e;--red:#c0392b}\n"
          "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--back:#181a1b;--faint:#383c3f;"
          "--soft:#888;--blue:#6cb2eb;--green:#69c07b;--red:#ee7f73}}\n"
          "body{font:15px/1.5 sans-serif;color:var(--ink);background:var(--back);max-width:52em;"
          "margin:2em auto;padding:0 1em}\n"
          "svg{width:100%;height:auto}text{fill:var(--ink);font-size:13px}"
          "text.small{fill:var(--soft);font-size:11px}\n"
          ".grid{stroke:var(--faint)}.roof{stroke:var(--ink);stroke-width:2}"
          ".here{stroke:var(--blue);stroke-dasharray:4 4}\n"
          ".limit{fill:var(--blue)}.reached{fill:var(--green)}.target{fill:var(--red)}"
          ".paper{fill:var(--soft)}\n"
          "td,th{text-align:left;padding:.1em 1.5em .1em 0}h1{font-size:1.4em}h2{font-size:1.1em}\n"
          "</style></head><body>\n", file);
}

void sl_roofline_write(FILE *file, const struct sl_target *t)
{
    double reached = t->of[SL_TARGET_REACHED].median;

    write_head(file, t);
    fputs("<h1>How fast is this machine?</h1>\n<p>", file);
    escape(file, t->path);
    fputs(" (", file);
    escape(file, t->model_type);
    fprintf(file, "): %.1f MB of weights, %.1f MB of them for a token.<br>",
            (double)t->weight_bytes * 1e-6, (double)t->token_bytes * 1e-6);
    escape(file, t->cpu);
    fprintf(file, ", %u threads, %s, experts %s; %u rounds of %u tokens.</p>\n", t->n_threads,
            t->level, t->is_streaming ? "streaming" : "resident", t->n_rounds, t->n_tokens);
    fprintf(file, "<p><b>%.*f tokens/s, %.0f %% of what is allowed%s.</b> %g tokens/s would need "
            "%.4g GB/s from memory, %.3g times what it gives here", decimals(reached), reached,
            t->of[SL_TARGET_SHARE].median * 100.0,
            t->limiter == SL_TARGET_BY_DISK ? " by the disk" : "", t->target,
            t->memory.need_per_s * 1e-9, t->memory.times);
    if (t->disk.per_token > 0.0)
        fprintf(file, ", and %.4g GB/s from the disk", t->disk.need_per_s * 1e-9);
    if (t->disk.times > 0.0)
        fprintf(file, ", %.3g times what it gives", t->disk.times);
    fputs(".</p>\n", file);
    write_roof(file, t);
    write_time(file, t);
    write_table(file, t);
    fputs("</body></html>\n", file);
}
