// Runs the ternary kernel on what a file holds, and writes the sums and the layer's outputs.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "linear.cpp"

namespace {

template <class T>
std::vector<T> read(std::FILE* in, size_t count) {
    std::vector<T> found(count);
    if (std::fread(found.data(), sizeof(T), count, in) != count) std::exit(3);
    return found;
}

}  // namespace

int main(int, char** arguments) {
    std::FILE* in = std::fopen(arguments[1], "rb");
    std::fprintf(stderr, "%s\n", ta_ternary_instructions());
    const std::vector<int64_t> sizes = read<int64_t>(in, 5);
    const int64_t tokens = sizes[0], outputs = sizes[1], inputs = sizes[2], bytes = sizes[3];
    const int per_byte = int(sizes[4]);
    const std::vector<uint8_t> packed = read<uint8_t>(in, size_t(bytes));
    const std::vector<int8_t> codes = read<int8_t>(in, size_t(tokens * inputs));
    const std::vector<float> x = read<float>(in, size_t(tokens * inputs)), scale = read<float>(in, 1);
    const std::vector<float> bias = read<float>(in, size_t(outputs));
    std::vector<float> y(size_t(tokens * outputs));
    if (ta_ternary_sums(codes.data(), tokens, packed.data(), bytes, outputs, inputs, per_byte, y.data(), 1)) return 4;
    std::fwrite(y.data(), sizeof(float), y.size(), stdout);
    if (ta_ternary_linear(x.data(), tokens, packed.data(), bytes, outputs, inputs, per_byte, scale.data(), bias.data(),
                          y.data(), 2))
        return 4;
    std::fwrite(y.data(), sizeof(float), y.size(), stdout);
    return 0;
}
