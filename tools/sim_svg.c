/*
 * SVG by hand: each diagram is a frame with five lines across, and a path per series
 * through its points in order of memory.
 */
#include "tools/sim_svg.h"

#include <stdio.h>
#include <string.h>

#define WIDTH 460.0
#define HEIGHT 300.0
#define LEFT 60.0
#define TOP 50.0
#define GAP 100.0
#define N_LINES 5
#define N_COLORS 4u

static const char *const colors[N_COLORS] = { "#0b6e4f", "#c1440e", "#3a5a9b", "#777777" };

static double largest(const struct sim_svg_point *points, uint32_t n, double (*of)(
                      const struct sim_svg_point *))
{
    double most = 0;

    for (uint32_t i = 0; i < n; i++)
        most = of(&points[i]) > most ? of(&points[i]) : most;
    return most > 0 ? most : 1;
}

static double hits_of(const struct sim_svg_point *p)
{
    return p->hits;
}

static double speed_of(const struct sim_svg_point *p)
{
    return p->speed;
}

static double bytes_of(const struct sim_svg_point *p)
{
    return p->bytes;
}

static void frame(FILE *f, double left, const char *title, double most_x, double most_y)
{
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" font-weight=\"bold\">%s</text>\n", left, TOP - 14,
            title);
    for (int i = 0; i <= N_LINES; i++) {
        double y = TOP + HEIGHT - HEIGHT * i / N_LINES, x = left + WIDTH * i / N_LINES;

        fprintf(f, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#ddd\"/>\n", left, y, left + WIDTH);
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", left - 6,
                y + 4, most_y * i / N_LINES);
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.3g</text>\n", x,
                TOP + HEIGHT + 18, most_x / 1e9 * i / N_LINES);
    }
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">GB for experts</text>\n",
            left + WIDTH / 2, TOP + HEIGHT + 36);
}

static bool is_first_of_series(const struct sim_svg_point *points, uint32_t at)
{
    uint32_t i = 0;

    while (i < at && strcmp(points[i].series, points[at].series) != 0)
        i++;
    return i == at;
}

/* The next point of the series to the right of x, or n. */
static uint32_t next_point(const struct sim_svg_point *points, uint32_t n, const char *series,
                           double x)
{
    uint32_t best = n;

    for (uint32_t i = 0; i < n; i++)
        if (strcmp(points[i].series, series) == 0 && points[i].bytes > x &&
            (best == n || points[i].bytes < points[best].bytes))
            best = i;
    return best;
}

static void diagram(FILE *f, double left, const char *title, const struct sim_svg_point *points,
                    uint32_t n, double most_y, double (*of)(const struct sim_svg_point *))
{
    double most_x = largest(points, n, bytes_of);
    uint32_t n_series = 0;

    frame(f, left, title, most_x, most_y);
    for (uint32_t s = 0; s < n; s++) {
        const char *color = colors[n_series % N_COLORS];
        char command = 'M';

        if (!is_first_of_series(points, s))
            continue;
        fprintf(f, "<path fill=\"none\" stroke-width=\"2\" stroke=\"%s\" d=\"", color);
        for (uint32_t i = next_point(points, n, points[s].series, -1); i < n;
             i = next_point(points, n, points[s].series, points[i].bytes)) {
            fprintf(f, "%c%.1f %.1f", command, left + WIDTH * points[i].bytes / most_x,
                    TOP + HEIGHT - HEIGHT * of(&points[i]) / most_y);
            command = 'L';
        }
        fprintf(f, "\"/>\n<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", left + 12,
                TOP + 18 + 16 * n_series, color, points[s].series);
        n_series++;
    }
}

int sim_svg_write(const char *path, const struct sim_svg_point *points, uint32_t n,
                  bool with_guesses)
{
    double width = 2 * (LEFT + WIDTH) + GAP, height = TOP + HEIGHT + 60;
    FILE *f = fopen(path, "we");
    int failed;

    if (!f)
        return -1;
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", width, height);
    diagram(f, LEFT, with_guesses ? "hits and covered by guesses, %" : "hits, %", points, n, 100,
            hits_of);
    diagram(f, 2 * LEFT + WIDTH + GAP / 2, "tokens per second, predicted", points, n,
            largest(points, n, speed_of), speed_of);
    fprintf(f, "</svg>\n");
    failed = ferror(f);
    return fclose(f) != 0 || failed ? -1 : 0;
}
