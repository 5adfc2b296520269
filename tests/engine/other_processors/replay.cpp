// Replays calls of the decoder's C interface that were recorded on another machine, and writes what came out.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "byte_cache.h"
#include "decoder.cpp"
#include "scorer.cpp"

namespace {

std::FILE* in;

template <class T>
std::vector<T> read(size_t count) {
    std::vector<T> found(count);
    if (count > 0 && std::fread(found.data(), sizeof(T), count, in) != count) std::exit(3);
    return found;
}

int number() { return read<int32_t>(1)[0]; }

template <class T>
void write(const std::vector<T>& values) {
    std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

void logits(const Model* model) {
    const int count = number();
    const std::vector<int32_t> tokens = read<int32_t>(count);
    std::vector<float> out(size_t(count) * model->shape.vocab);
    if (ta_logits(model, tokens.data(), count, out.data())) std::exit(4);
    write(out);
}

void integers() {
    const int rows = number(), columns = number();
    const std::vector<int8_t> trits = read<int8_t>(size_t(rows) * columns);
    const std::vector<float> x = read<float>(size_t(32) * columns);
    std::vector<int8_t> codes(size_t(32) * columns);
    std::vector<float> scales(32);
    std::vector<int32_t> sums(size_t(32) * rows);
    if (ta_integers(trits.data(), rows, columns, x.data(), codes.data(), scales.data(), sums.data())) std::exit(4);
    write(codes), write(scales), write(sums);
}

template <class Cache>
void sample(const Model* model) {
    const int prompts = number(), each = number(), limit = number();
    const std::vector<int64_t> offsets = read<int64_t>(prompts + 1);
    const std::vector<int32_t> tokens = read<int32_t>(size_t(offsets.back()));
    const std::vector<Draw> draw = read<Draw>(1);
    const int64_t count = int64_t(prompts) * each;
    std::vector<int32_t> out(size_t(count) * limit), lengths(count);
    std::vector<int8_t> status(count);
    const Job job = {tokens.data(), offsets.data(), 0,     count,      each,           limit,         -1,
                     model->shape.context, 32,      draw[0],    out.data(),     lengths.data(), status.data(),
                     nullptr,       nullptr};
    Session<Cache> session(*model, job, 2);
    while (const int code = session.run(16))
        if (code < 0) std::exit(4);
    write(out);
}

}  // namespace

int main(int, char** arguments) {
    in = std::fopen(arguments[1], "rb");
    Model* model = nullptr;
    std::fprintf(stderr, "%s\n", ta_instructions());
    for (int call; (call = std::fgetc(in)) != EOF;) {
        if (call == 'M') {
            model = ta_model(read<Shape>(1).data());
        } else if (call == 'V') {
            const int name = number(), layer = number(), size = number();
            ta_set_vector(model, name, layer, read<float>(size).data(), size);
        } else if (call == 'W') {
            const int layer = number();
            ta_set_window(model, layer, number());
        } else if (call == 'B') {
            const int layer = number(), part = number(), rows = number();
            ta_set_bias(model, layer, part, read<float>(rows).data(), rows);
        } else if (call == 'F') {
            const int layer = number(), part = number(), rows = number(), columns = number();
            ta_set_float(model, layer, part, read<float>(size_t(rows) * columns).data(), rows, columns);
        } else if (call == 'T') {
            const int layer = number(), part = number(), rows = number(), columns = number();
            const float scale = read<float>(1)[0];
            ta_set_ternary(model, layer, part, read<int8_t>(size_t(rows) * columns).data(), scale, rows, columns);
        } else if (call == 'L') {
            logits(model);
        } else if (call == 'I') {
            integers();
        } else if (call == 'S') {
            sample<FloatCache>(model);
        } else if (call == 'Q') {
            sample<ByteCache>(model);
        } else {
            return 5;
        }
    }
    return 0;
}
